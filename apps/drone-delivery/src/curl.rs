//! `curl`: one call of a service by the way that the services call each other.

use base::Code;
use http::{Method, header};
use service_kit::Call;
use skein::{Exit, Failure, Output, failure};

use crate::{cli::CurlArguments, roles::Role, system::System};

/// Who can be called, by name.
fn called() -> impl Iterator<Item = &'static str> {
    Role::ALL.into_iter().filter(|it| it.is_called()).map(Role::name)
}

/// Prints the body of the answer; any status is one.
pub(crate) async fn curl(
    system: System,
    arguments: &CurlArguments,
    output: Output,
) -> Result<Exit, Failure> {
    let usage = |what: String| Failure::new("bad_argument", what).exit(Exit::Usage);
    if !arguments.path.starts_with('/') {
        let whole = format!("drone-delivery curl {} /{}", arguments.service, arguments.path);
        return Err(usage("a path begins with `/`".to_owned()).at(&arguments.path).next(whole));
    }
    let default = if arguments.body.is_some() { "POST" } else { "GET" };
    let method = arguments.method.as_deref().unwrap_or(default);
    let method = Method::from_bytes(method.as_bytes())
        .map_err(|_| usage(format!("`{method}` is no method")))?;
    let mut call = Call::new(arguments.service.clone(), method, arguments.path.clone());
    if let Some(body) = &arguments.body {
        let body: serde_json::Value = serde_json::from_str(body)
            .map_err(|it| usage("the body is no JSON".to_owned()).because(it))?;
        call = call.header(header::CONTENT_TYPE, "application/json").json(&body);
    }
    let reply = system.call(call).await.map_err(|error| {
        let known: Vec<&str> = called().collect();
        if error.code() == Code::NoEndpoint && !known.contains(&&*arguments.service) {
            let what = format!("no service is called `{}`", arguments.service);
            let why = format!("services are {}", known.join(", "));
            return Failure::new("no_such_service", what).because(why).exit(Exit::NotFound);
        }
        let (exit, next) = match error.code() {
            Code::UpstreamTimeout => (Exit::TimedOut, "drone-delivery ps"),
            Code::IdentityRefused => (Exit::Unreachable, "drone-delivery identity show"),
            _ => (Exit::Unreachable, "drone-delivery ps"),
        };
        Failure::new(error.code().as_str(), format!("{} does not answer", arguments.service))
            .because(failure::chain(&error))
            .exit(exit)
            .next(next)
    })?;
    output.remark(&format!("{} {}", arguments.service, reply.status));
    let mut text = String::new();
    if arguments.include {
        for (_, name, value) in reply.fields.iter() {
            let field = [name, value].map(String::from_utf8_lossy);
            text.push_str(&format!("{}: {}\n", field[0], field[1]));
        }
        text.push('\n');
    }
    text.push_str(&String::from_utf8_lossy(&reply.body));
    output.text(&text);
    Ok(if reply.status.is_success() { Exit::Done } else { Exit::Failed })
}
