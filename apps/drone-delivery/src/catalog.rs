//! The kinds of process there are, for people and for programs that would otherwise list them themselves.

use std::path::Path;

use mesh_policy::{Policy, route::PathMatch};
use serde_json::{Value, json};
use skein::{Exit, Failure, Output, Table};

use crate::{mesh, roles::Role, settings::Settings};

/// What the edge asks in the place of a version before the path; it means nothing yet.
const ANY_VERSION: &str = "(/v[0-9]+([.][0-9]+)*)?";

/// Lists every role, with the ports of the system in this directory.
pub(crate) fn roles(data: &Path, output: Output) -> Result<Exit, Failure> {
    let settings = Settings::of(data)?.unwrap_or_default();
    let public = mesh::public()?;
    let rows: Vec<Value> = Role::ALL.iter().map(|it| row(*it, &settings, &public)).collect();
    let mut table = Table::new(&["ROLE", "KIND", "PORT", "SETTINGS", "PUBLIC"]);
    for row in &rows {
        let text = |member: &str| match &row[member] {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let routes = row["publicRoutes"].as_array().map_or(0, Vec::len);
        let public = if routes == 0 { String::new() } else { format!("{routes} routes") };
        table.row([text("role"), text("kind"), text("port"), text("settings"), public]);
    }
    output.result(&rows, &table);
    Ok(Exit::Done)
}

fn row(role: Role, settings: &Settings, public: &Policy) -> Value {
    json!({
        "role": role.name(),
        "kind": role.kind().as_str(),
        "port": role.address(settings).port(),
        "offset": role.port(),
        "settings": role.settings(),
        "publicRoutes": public_routes(role, public),
    })
}

/// What strangers may ask of a role: `GET /api/deliveries/{id}`.
fn public_routes(role: Role, public: &Policy) -> Vec<String> {
    let rules = public.routes.iter().flat_map(|it| &it.rules);
    let leads = rules.filter(|it| it.backends.iter().any(|it| it.service == role.name()));
    let matches = leads.flat_map(|it| &it.matches);
    let path = |path: Option<&PathMatch>| match path {
        Some(PathMatch::Exact(path) | PathMatch::Prefix(path)) => path.clone(),
        Some(PathMatch::Regex(path)) => template(path),
        Some(PathMatch::Grpc { .. }) | None => "/".to_owned(),
    };
    let line = |it: &mesh_policy::route::Match| {
        format!("{} {}", it.method.as_deref().unwrap_or("*"), path(it.path.as_ref()))
    };
    matches.map(line).collect()
}

/// The path that an expression of `edge.yaml` means, as documents write it.
fn template(expression: &str) -> String {
    let inner = expression.strip_prefix("(?i:").and_then(|it| it.strip_suffix(')'));
    let inner = inner.unwrap_or(expression);
    let path = inner.strip_prefix(ANY_VERSION).unwrap_or(inner);
    let path = path.strip_suffix("/?").unwrap_or(path);
    path.replace("[^/]+", "{id}").replace("[0-9a-f]+", "{id}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(role: Role) -> Value {
        row(role, &Settings::default(), &mesh::public().unwrap())
    }

    #[test]
    fn each_role_has_a_section_of_the_settings() {
        let settings = serde_json::to_value(Settings::default()).unwrap();
        for role in Role::ALL {
            let section = settings.get(role.settings());
            assert!(section.is_some_and(Value::is_object), "{}", role.name());
        }
    }

    #[test]
    fn what_is_public_of_a_role_is_what_the_edge_lets_through() {
        let ingestion = listed(Role::Ingestion);
        let routes = ingestion["publicRoutes"].as_array().unwrap();
        for route in ["POST /api/deliveryrequests", "DELETE /api/deliveryrequests/{id}"] {
            assert!(routes.contains(&json!(route)), "{route}: {ingestion}");
        }
        assert_eq!((&ingestion["port"], &ingestion["offset"]), (&json!(7_101), &json!(101)));
        assert_eq!(listed(Role::Scheduler)["publicRoutes"], json!([]), "nobody outside asks it");
        let all = Role::ALL.map(|it| listed(it)["publicRoutes"].as_array().unwrap().len());
        let rules = mesh::public().unwrap();
        let matches = rules.routes.iter().flat_map(|it| &it.rules).map(|it| it.matches.len());
        assert_eq!(all.iter().sum::<usize>(), matches.sum::<usize>(), "each leads to one role");
    }
}
