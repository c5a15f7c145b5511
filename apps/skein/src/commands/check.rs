//! `check`: whether a mesh that runs is well, as its processes say.

use std::time::Duration;

use base::Timestamp;
use runtime::SystemClock;
use serde_json::Value;
use tokio::time::{Instant, interval, timeout};

use super::{
    admin::{Admins, Gathered},
    arguments::CheckArguments,
    cells::{list, text},
    pages::told_alike,
};
use identity::SKEW;
use mesh_proxy::Subject;

use crate::{
    Exit, Failure, Output,
    check::{self, Category, Check},
};

/// Between two looks with `--wait`.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// An identity is renewed at half life, so one with less than this part of it left was not renewed.
const LATE: f64 = 0.35;

/// The category of the processes.
pub const PROCESSES: &str = "processes";

/// What a look has found.
#[derive(Debug)]
pub struct Found {
    /// Checks by what they are about.
    pub categories: Vec<Category>,
    /// How the command ends where one of them is wrong.
    pub wrong: Exit,
}

impl Found {
    fn show(&self, output: Output) -> Exit {
        match check::show(&self.categories, output) {
            Exit::Done => Exit::Done,
            _ => self.wrong,
        }
    }
}

/// Looks at the processes, until all is well where that is waited for.
///
/// # Errors
/// No process answers.
pub async fn run(
    admins: &Admins,
    arguments: &CheckArguments,
    output: Output,
) -> Result<Exit, Failure> {
    let look = async || Ok(Found { categories: live(admins).await?, wrong: Exit::Failed });
    looking(look, arguments, output).await
}

/// The same with what a program knows how to look at.
///
/// # Errors
/// Why there was no look.
pub async fn looking(
    look: impl AsyncFn() -> Result<Found, Failure>,
    arguments: &CheckArguments,
    output: Output,
) -> Result<Exit, Failure> {
    let Some(longest) = arguments.wait else {
        return Ok(look().await?.show(output));
    };
    let end = Instant::now() + longest;
    let mut looks = interval(LOOK_EVERY);
    loop {
        looks.tick().await;
        let looked = timeout(longest, look()).await;
        let is_over = Instant::now() >= end;
        match looked {
            Ok(Ok(found)) if check::is_success(&found.categories) => return Ok(found.show(output)),
            Ok(Ok(found)) if is_over => {
                let _failed = found.show(output);
                return Ok(Exit::TimedOut);
            }
            Ok(Err(failure)) if is_over => return Err(failure),
            Err(_) => return Ok(Exit::TimedOut),
            Ok(_) => {}
        }
    }
}

/// How everything stands now.
///
/// # Errors
/// No process answers.
pub async fn live(admins: &Admins) -> Result<Vec<Category>, Failure> {
    let (ready, routes) = (admins.get("/readyz").await?, admins.get("/routes").await?);
    let (endpoints, identity) = (admins.get("/endpoints").await?, admins.get("/identity").await?);
    let services = admins.get("/services").await?;
    let now = SystemClock::shared().now();
    let planes = control(&pages(&services));
    let has_plane = planes.is_some();
    let mut categories = vec![
        Category { name: PROCESSES, checks: processes(&ready) },
        Category { name: "kept current", checks: kept_current(&pages(&routes), has_plane) },
        Category { name: "endpoints", checks: ways(&pages(&endpoints)) },
    ];
    categories.extend(identities(&pages(&identity), now));
    categories.extend(planes);
    Ok(categories)
}

/// Those who know the page, by their names.
fn pages(gathered: &Gathered) -> Vec<(String, Value)> {
    let known = gathered.said.iter().filter(|it| it.status.is_success());
    known.map(|it| (it.process.name.clone(), it.json())).collect()
}

fn processes(ready: &Gathered) -> Vec<Check> {
    let silent = ready.silent.iter().map(|(process, why)| format!("{}: {why}", process.name));
    let silent: Vec<String> = silent.collect();
    let waiting = ready.said.iter().filter(|it| !it.status.is_success());
    let waiting = waiting.map(|it| {
        let why = String::from_utf8_lossy(&it.body).trim().replace('\n', ", ");
        format!("{}: {why}", it.process.name)
    });
    vec![
        Check::none_of("every process answers", &silent, "look at its log"),
        Check::none_of(
            "every process is ready",
            &waiting.collect::<Vec<_>>(),
            "what it waits for has to run",
        ),
    ]
}

/// What every process keeps current from outside: each subject of `mesh_proxy::Subject` that is here.
fn kept_current(routes: &[(String, Value)], has_plane: bool) -> Vec<Check> {
    let leads_in = |it: &Value| it["door"].as_str().is_some_and(|it| it.starts_with("edge/"));
    let has_edge = routes.iter().any(|(_, page)| list(&page["routes"]).iter().any(leads_in));
    let is_here = |subject| match subject {
        Subject::Policy => true,
        Subject::Callers | Subject::Certificate => has_edge,
        Subject::ControlPlane => has_plane,
    };
    let all = [
        (
            Subject::Policy,
            "the newest policy is in force everywhere",
            "mend the file; `analyze FILE…` judges it before anybody reads it",
        ),
        (
            Subject::Callers,
            "the keys of all who may come in can be read",
            "mend the file, or see why the issuer does not answer; meanwhile the last keys hold that were good since the process started",
        ),
        (
            Subject::Certificate,
            "the certificate of the edge can be shown",
            "mend the files; the last good one is shown",
        ),
        (
            Subject::ControlPlane,
            "the control plane is heard",
            "it has to run, and to believe who calls: see the identities; its last good state holds",
        ),
    ];
    let checks = all.into_iter().filter_map(|(subject, description, hint)| {
        let wrong = told(routes, subject);
        let is_asked = is_here(subject) || !wrong.is_empty();
        is_asked.then(|| Check::none_of(description, &wrong, hint))
    });
    checks.collect()
}

/// What is wrong with something, each thing once.
fn told(routes: &[(String, Value)], subject: Subject) -> Vec<String> {
    let told = |(trouble, names): (&str, Vec<&str>)| format!("{trouble} (at {})", names.join(", "));
    told_alike(routes, subject).into_iter().map(told).collect()
}

fn ways(endpoints: &[(String, Value)]) -> Vec<Check> {
    let (mut none, mut shut) = (Vec::new(), Vec::new());
    for (name, page) in endpoints {
        for destination in list(&page["destinations"]) {
            let (service, all) = (text(&destination["service"]), list(&destination["endpoints"]));
            let open =
                all.iter().filter(|it| it["breaker"].as_str().is_some_and(|it| it != "closed"));
            match open.count() {
                _ if all.is_empty() => none.push(format!("{name} knows nobody at {service}")),
                0 => {}
                count => shut.push(format!("{name} avoids {count} of {} at {service}", all.len())),
            }
        }
    }
    vec![
        Check::none_of(
            "every service has an instance",
            &none,
            "one that starts is known in seconds; else start one, or take its name out of the policy",
        )
        .but_warn(),
        Check::none_of(
            "no breaker is open",
            &shut,
            "`endpoints SERVICE` shows which; look at the log of that instance",
        )
        .but_warn(),
    ]
}

/// Nothing where nobody says anything about it.
fn identities(pages: &[(String, Value)], now: Timestamp) -> Option<Category> {
    const NAME: &str = "identities";
    let mut showing = pages.iter().filter(|(_, page)| page["shows"] == true).peekable();
    if showing.peek().is_none() {
        let open = pages.iter().any(|(_, page)| page["shows"] == false);
        let why = "nobody shows who he is: calls are plain text, and everybody on the way may read and make them";
        let hint = "give the processes identities; with `up`, leave out `--tls off`";
        let wrong = [why.to_owned()];
        let check = Check::none_of("processes prove to each other who they are", &wrong, hint);
        return open.then(|| Category { name: NAME, checks: vec![check.but_warn()] });
    }
    let (mut closed, mut late) = (Vec::new(), Vec::new());
    for (name, page) in showing {
        let time = |it: &str| page[it].as_str().and_then(Timestamp::parse);
        let Some((from, until)) = time("not_before").zip(time("not_after")) else {
            closed.push(format!("{name} has no identity, and is closed"));
            continue;
        };
        let (left, life) = (until.saturating_since(now), until.saturating_since(from + SKEW));
        if page["denied"] == true {
            closed.push(format!("the identity of {name} is denied: nobody talks to it"));
        } else if left.is_zero() {
            closed.push(format!("the identity of {name} is over"));
        } else if left < life.mul_f64(LATE) {
            late.push(format!("that of {name} ends in {} s", left.as_secs()));
        }
    }
    let checks = vec![
        Check::none_of(
            "every process has an identity",
            &closed,
            "a process that is denied gets another one when it is started anew, and is heard by nobody before; else the authority has to run: `identity show`",
        ),
        Check::none_of(
            "every identity is renewed in time",
            &late,
            "the authority has to run; `identity show`",
        )
        .but_warn(),
    ];
    Some(Category { name: NAME, checks })
}

/// Nothing where there is no control plane.
fn control(pages: &[(String, Value)]) -> Option<Category> {
    let mut planes = pages.iter().filter(|(_, it)| it["instances"].is_array()).peekable();
    planes.peek()?;
    let (mut sources, mut refused) = (Vec::new(), Vec::new());
    for (_, page) in planes {
        let troubles = page["troubles"].as_object().into_iter().flatten();
        sources.extend(troubles.map(|(source, why)| format!("{source}: {}", text(why))));
        for proxy in list(&page["subscribers"]) {
            if let Some(why) = proxy["refused"]["reason"].as_str() {
                let identity = proxy["identity"].as_str().map(|it| format!(" ({it})"));
                let (name, identity) = (text(&proxy["name"]), identity.unwrap_or_default());
                refused.push(format!("{name}{identity}: {why}"));
            }
        }
    }
    let checks = vec![
        Check::none_of("every source can be used", &sources, "mend it; its last good state holds"),
        Check::none_of(
            "every proxy has taken the newest state",
            &refused,
            "`services show SERVICE` says which",
        ),
    ];
    Some(Category { name: "control plane", checks })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::check::Verdict;

    fn page(page: Value) -> Vec<(String, Value)> {
        vec![("shop".to_owned(), page)]
    }

    #[track_caller]
    fn check(checks: &[Check], expected: &[bool]) {
        let well: Vec<_> = checks.iter().map(|it| it.verdict == Verdict::Success).collect();
        assert_eq!(well, expected, "{checks:?}");
    }

    #[test]
    fn one_bad_file_is_told_once_with_all_who_read_it() {
        let bad = json!({"troubles": {"policy": "rules.yaml:4:8  no"}});
        let pages = ["shop-1", "stock-1"].map(|it| (it.to_owned(), bad.clone()));
        let Verdict::Error(why) = &kept_current(&pages, false)[0].verdict else {
            panic!("it is wrong")
        };
        assert_eq!(why, "rules.yaml:4:8  no (at shop-1, stock-1)");
    }

    #[test]
    fn a_policy_that_is_not_in_force_and_a_breaker_that_is_open_are_found() {
        let kept = |troubles: Value| {
            let page = page(json!({"troubles": troubles, "routes": [{"door": "edge/shop"}]}));
            kept_current(&page, true)
        };
        let alone = |troubles: Value| kept_current(&page(json!({"troubles": troubles})), false);
        check(&alone(json!({})), &[true]);
        check(&alone(json!({"control_plane": "it is away"})), &[true, false]);
        check(&kept(json!({})), &[true, true, true, true]);
        check(&kept(json!({"policy": "rules.yaml:4:8  no"})), &[false, true, true, true]);
        check(&kept(json!({"callers": "keys.json: no"})), &[true, false, true, true]);
        check(&kept(json!({"certificate": "over"})), &[true, true, false, true]);
        check(&kept(json!({"control_plane": "it is away"})), &[true, true, true, false]);
        let ways = |endpoints: Value| {
            ways(&page(json!({"destinations": [{"service": "stock", "endpoints": endpoints}]})))
        };
        check(&ways(json!([{"breaker": "closed"}])), &[true, true]);
        check(&ways(json!([{"breaker": "closed"}, {"breaker": "open"}])), &[true, false]);
        check(&ways(json!([])), &[false, true]);
    }

    // mesh 12b: 59
    #[test]
    fn an_identity_that_is_over_or_not_renewed_is_found_and_none_at_all_is_no_error() {
        let now = Timestamp::parse("2026-11-28T12:00:00Z").unwrap();
        assert!(identities(&page(json!({})), now).is_none());
        let open = identities(&page(json!({"shows": false, "id": null})), now).unwrap().checks;
        assert!(matches!(open[..], [Check { verdict: Verdict::Warning(_), .. }]), "{open:?}");
        let shown = |until: Value, denied: bool| {
            let from = "2026-11-28T11:30:00Z";
            let shown =
                json!({"shows": true, "not_before": from, "not_after": until, "denied": denied});
            identities(&page(shown), now).unwrap().checks
        };
        let checks = |until: Value| shown(until, false);
        check(&shown(json!("2026-11-28T13:00:00Z"), true), &[false, true]);
        check(&checks(json!("2026-11-28T13:00:00Z")), &[true, true]);
        check(&checks(json!("2026-11-28T12:05:00Z")), &[true, false]);
        check(&checks(json!("2026-11-28T11:59:00Z")), &[false, true]);
        check(&checks(Value::Null), &[false, true]);
    }

    #[test]
    fn a_source_that_cannot_be_used_and_a_proxy_that_refused_are_found() {
        assert!(control(&page(Value::Null)).is_none());
        let checks = |troubles: Value, refused: Value| {
            let subscribers = json!([{"name": "shop", "refused": refused}]);
            let page =
                page(json!({"instances": [], "troubles": troubles, "subscribers": subscribers}));
            control(&page).unwrap().checks
        };
        check(&checks(json!({}), Value::Null), &[true, true]);
        check(&checks(json!({"files": "no"}), json!({"reason": "no"})), &[false, false]);
    }
}
