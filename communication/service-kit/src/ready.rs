//! The line by which a process says that it can be used.

use std::io::Write as _;

use serde::Serialize;

use crate::{config::ServiceConfig, service::Bound};

#[derive(Serialize)]
struct Ready<'a> {
    service: &'a str,
    instance: &'a str,
    pid: u32,
    ports: Ports,
    version: &'a str,
}

#[derive(Serialize)]
struct Ports {
    http: u16,
    admin: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    https: Option<u16>,
}

/// The JSON object that [`announce_ready`] prints.
#[must_use]
pub fn ready_line(config: &ServiceConfig, bound: &Bound) -> String {
    let ready = Ready {
        service: &config.role,
        instance: &config.instance,
        pid: std::process::id(),
        ports: Ports {
            http: bound.http.port(),
            admin: bound.admin.port(),
            https: bound.https.map(|it| it.port()),
        },
        version: &config.version,
    };
    // Text and numbers always serialize.
    serde_json::to_string(&ready).unwrap_or_default()
}

/// Prints one JSON line on standard output: whoever started the process reads its ports there.
///
/// # Errors
/// Standard output is closed.
pub fn announce_ready(config: &ServiceConfig, bound: &Bound) -> std::io::Result<()> {
    let mut output = std::io::stdout().lock();
    writeln!(output, "{}", ready_line(config, bound))?;
    output.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_names_service_instance_process_ports_and_version() {
        let config = ServiceConfig::new("orders", "orders-1", "/nowhere");
        let at = |port: u16| ([127, 0, 0, 1], port).into();
        let bound = Bound { http: at(7_101), admin: at(40_000), https: None };
        let line: serde_json::Value = serde_json::from_str(&ready_line(&config, &bound)).unwrap();
        assert_eq!(line["service"], "orders");
        assert_eq!(line["ports"], serde_json::json!({ "http": 7101, "admin": 40000 }));
        assert_eq!(line["pid"], std::process::id());
        let bound = Bound { https: Some(at(7_443)), ..bound };
        let line: serde_json::Value = serde_json::from_str(&ready_line(&config, &bound)).unwrap();
        assert_eq!(line["ports"]["https"], 7_443);
    }
}
