//! Where settings come from: defaults, a file, the environment, flags, in this order.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use runtime::config::{Layers, Origin, Setting};
use serde_json::Value;

use crate::{
    cli::SettingArguments,
    settings::{Settings, SettingsError, read_json},
};

/// What names of environment variables begin with; two underscores stand for each dot.
const ENVIRONMENT: &str = "DRONE_DELIVERY__";

/// Settings with the layer that each value came from.
#[derive(Debug)]
pub(crate) struct Layered {
    pub(crate) settings: Settings,
    pub(crate) origins: Vec<Setting>,
    /// Why services do not show who they are, where nobody said that they need not.
    pub(crate) mute: Option<&'static str>,
}

impl Layered {
    /// Lays file, environment and flags over the defaults.
    pub(crate) fn gather(
        arguments: &SettingArguments,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, SettingsError> {
        let mut layers = Layers::over(&Settings::default())?;
        if let Some(path) = &arguments.config {
            layers.lay(Origin::File, &read_json(path)?)?;
        }
        for (name, value) in environment {
            if let Some(path) = name.strip_prefix(ENVIRONMENT) {
                let path = path.to_lowercase().replace("__", ".");
                layers.set(Origin::Environment, &path, &value)?;
            }
        }
        for (path, value) in arguments.flags() {
            layers.set(Origin::Flag, &path, &value)?;
        }
        let mut settings: Settings = layers.read()?;
        let mute = settings.mute().filter(|_| !is_chosen(&layers, TLS));
        if mute.is_some() {
            layers.set(Origin::Default, TLS, "off")?;
            settings = layers.read()?;
        }
        let gateway = &mut settings.gateway;
        let named =
            [&mut settings.authorities, &mut gateway.certificate, &mut gateway.certificate_key];
        let named = named.into_iter().flatten();
        // Whoever reads them in the data directory may stand elsewhere.
        for path in settings.route_files.iter_mut().chain(named) {
            *path = usable_file(path)?;
        }
        for path in settings.programs.values().filter(|it| !it.as_os_str().is_empty()) {
            startable(path)?;
        }
        settings.check()?;
        settings.check_editions().map_err(SettingsError::Unfit)?;
        let origins = layers.settings().into_iter().map(veiled).collect();
        Ok(Self { settings, origins, mute })
    }
}

/// The setting whose value, where nobody gives one, depends on others.
const TLS: &str = "tls";

/// Whether somebody gave a value.
fn is_chosen(layers: &Layers, path: &str) -> bool {
    layers.settings().iter().any(|it| it.path == path && it.origin != Origin::Default)
}

/// Names of members, last words of paths among them, whose values nobody should read over a shoulder.
const VEILED: [&str; 3] = ["password", "token", "secret"];

fn veiled(mut setting: Setting) -> Setting {
    let last = setting.path.rsplit('.').next().unwrap_or_default();
    veil(last, &mut setting.value);
    setting
}

/// Hides a value by its name, and those in a list or an object by theirs.
fn veil(name: &str, value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|it| veil(name, it)),
        Value::Object(members) => members.iter_mut().for_each(|(name, it)| veil(name, it)),
        Value::String(text) if VEILED.contains(&name) && !text.is_empty() => {
            *value = Value::from("(given)");
        }
        _ => {}
    }
}

/// The same path from anywhere, of a file that exists.
fn usable_file(path: &Path) -> Result<PathBuf, SettingsError> {
    let io = |source| SettingsError::Io { path: path.to_owned(), source };
    if !fs::metadata(path).map_err(io)?.is_file() {
        return Err(io(io::Error::other("it is no file")));
    }
    std::path::absolute(path).map_err(io)
}

/// A program is started by its path or, where it is a bare name, from the directories of `PATH`.
fn startable(program: &Path) -> Result<(), SettingsError> {
    if program.components().count() > 1 {
        return usable_file(program).map(drop);
    }
    let folders = std::env::var_os("PATH").unwrap_or_default();
    if std::env::split_paths(&folders).any(|it| it.join(program).is_file()) {
        return Ok(());
    }
    let source = io::Error::new(io::ErrorKind::NotFound, "no directory of PATH has it");
    Err(SettingsError::Io { path: program.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use skein::{Exit, Failure};

    use super::*;
    use crate::{
        editions::Edition,
        roles::Role,
        settings::{FILE, MeshPlacement, Settings, Tls},
    };

    fn gather(arguments: &[&str]) -> Result<Layered, SettingsError> {
        let arguments = SettingArguments::of(arguments);
        let environment = [("DRONE_DELIVERY__SCHEDULER__INTAKE_LANES", "7"), ("HOME", "/nowhere")];
        let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Layered::gather(&arguments, environment)
    }

    #[test]
    fn a_program_that_is_not_there_is_refused_by_name_before_anything_starts() {
        for (program, is_there) in [("/no/such", false), ("no-such-program", false), ("sh", true)] {
            let gathered = gather(&["--role", &format!("account={program}")]);
            assert_eq!(gathered.is_ok(), is_there, "{program}");
            if let Err(error) = gathered {
                let failure = Failure::from(error);
                assert!(failure.to_string().contains(program), "{failure}");
                assert_eq!(failure.exit, Exit::NotFound);
            }
        }
    }

    #[test]
    fn a_flag_wins_over_the_environment_and_each_value_names_its_origin() {
        let layered = gather(&[]).unwrap();
        assert_eq!(layered.settings.of_services.scheduler.intake_lanes, 7);
        let layered = gather(&["--set", "scheduler.intake_lanes=9"]).unwrap();
        assert_eq!(layered.settings.of_services.scheduler.intake_lanes, 9);
        let origin = |path: &str| layered.origins.iter().find(|it| it.path == path).unwrap().origin;
        assert_eq!(origin("scheduler.intake_lanes"), Origin::Flag);
        assert_eq!(origin("scheduler.complete_by_ms"), Origin::Default);
    }

    #[test]
    fn a_setting_that_is_none_is_refused_with_the_whole_path_that_is_near() {
        for (path, near) in [
            ("schedler.complete_by_ms", Some("scheduler.complete_by_ms")),
            ("complete_by_ms", Some("scheduler.complete_by_ms")),
            ("nope.x", None),
        ] {
            let failure = Failure::from(gather(&["--set", &format!("{path}=1")]).unwrap_err());
            let said = failure.to_string();
            assert!(said.contains(&format!("`{path}`")), "{said}");
            assert_eq!(said.contains("did you mean"), near.is_some(), "{said}");
            assert!(near.is_none_or(|it| said.contains(&format!("`{it}`"))), "{said}");
            assert_eq!(failure.next.as_deref(), Some("drone-delivery config"));
        }
        let error =
            gather(&["--set", "delivery.notifications.unsubscribe_url=nonsense"]).unwrap_err();
        assert!(error.to_string().contains("`nonsense` is no address"), "{error}");
    }

    #[test]
    fn the_time_scale_reaches_drones_and_carriers() {
        let settings = gather(&["--time-scale", "600", "--drones", "3"]).unwrap().settings;
        // Both roles are given this one section.
        assert_eq!(settings.fleet.time_scale, 600.0);
        assert_eq!(settings.fleet.drones, 3);
    }

    #[test]
    fn a_control_plane_is_refused_where_somebody_would_not_be_found() {
        let refused = |arguments: &[&str], expected: &str| {
            let on = ["--set", "mesh_control.enabled=true"];
            let error = gather(&[&on[..], arguments].concat()).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        let roles = |it: &Settings| it.editions().iter().map(|it| it.role).collect::<Vec<_>>();
        assert!(!roles(&gather(&[]).unwrap().settings).contains(&Role::Control));
        let on = gather(&["--set", "mesh_control.enabled=true"]).unwrap().settings;
        assert_eq!(roles(&on), Role::ALL);
        refused(&["--mesh", "off"], "without a mesh");
        let python = "services.package={\"command\": [\"python3\"]}";
        refused(&["--set", python], "needs a proxy beside it");
        refused(&["--set", python], "(`--mesh sidecar`)");
        refused(
            &["--set", "mesh_control.lease_ms=999"],
            "`mesh_control.lease_ms` is 1000 to 60000",
        );
        refused(&["--replicas", "control=2"], "control runs in 1 to 1 processes");
        let beside = ["--set", "mesh_control.enabled=true", "--set", python, "--mesh", "sidecar"];
        assert!(gather(&beside).is_ok());
    }

    #[test]
    fn what_is_secret_in_a_list_is_not_shown() {
        let mut value = serde_json::json!([{"name": "acme", "token": "hunter2"}, {"token": ""}]);
        veil("companies", &mut value);
        let shown = serde_json::json!([{"name": "acme", "token": "(given)"}, {"token": ""}]);
        assert_eq!(value, shown);
    }

    #[test]
    fn a_password_is_neither_shown_nor_readable_by_others() {
        use std::os::unix::fs::PermissionsExt as _;
        let secret = "notifications.smtp.password";
        let layered = gather(&["--set", &format!("delivery.{secret}=hunter2")]).unwrap();
        let shown = layered.origins.iter().find(|it| it.path.ends_with(secret)).unwrap();
        assert_eq!(shown.value, "(given)");
        let folder = tempfile::tempdir().unwrap();
        for _ in 0..2 {
            layered.settings.write(folder.path()).unwrap();
        }
        let mode = fs::metadata(folder.path().join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let read = Settings::of(folder.path()).unwrap().unwrap();
        assert_eq!(read.of_services.delivery.notifications.smtp.password, "hunter2");
    }

    #[track_caller]
    fn check_refused(arguments: &[&str], expected: &str) {
        let error = gather(arguments).unwrap_err();
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn what_does_not_exist_is_refused_by_name() {
        check_refused(
            &["--set", "scheduler.lanes=1"],
            "unknown setting `scheduler.lanes` from flag; did you mean `scheduler.intake_lanes`?",
        );
        check_refused(
            &["--set", "dronee.drones=1"],
            "unknown setting `dronee.drones` from flag; did you mean `fleet.drones`?",
        );
        check_refused(&["--replicas", "broker=2"], "broker runs in 1 to 1 processes, not 2");
        check_refused(
            &["--replicas", "account@v2=2"],
            "account@v2 has replicas and no program; `--role account@v2=` names ours",
        );
        check_refused(
            &["--role", "account@v2=", "--replicas", "account@v2=17"],
            "account@v2 runs in 1 to 16 processes, not 17",
        );
        check_refused(&["--routes", "/no/such/file"], "/no/such/file cannot be used");
        check_refused(&["--routes", "/"], "/ cannot be used");
        for value in ["nope.x=1", "logs.level=loud", "fleet.drones=many"] {
            let failure = Failure::from(gather(&["--set", value]).unwrap_err());
            assert_eq!(failure.exit, Exit::Usage, "{failure}");
        }
        check_refused(&["--set", "authorities=/no/such/file"], "/no/such/file cannot be used");
        check_refused(&["--set", "logs.level=loud"], "`logs.level` is `loud`, which is no level");
        assert!(gather(&["--replicas", "schedular=2"]).is_err());
        assert!(gather(&["--mesh", "beside"]).is_err());
    }

    #[track_caller]
    fn check_foreign(name: &str, service: &str, expected: &str) {
        check_refused(&["--set", &format!("services.{name}={service}")], expected);
    }

    #[test]
    fn a_foreign_service_that_cannot_be_is_refused() {
        let python = r#"{"command": ["python3"]}"#;
        check_foreign("broker", python, "broker is no service that another program can be");
        let expected = "`services.package.command` names no program";
        check_foreign("package", r#"{"command": []}"#, expected);
        let expected = "`services.package.port` is 0; leave it out for a free one";
        check_foreign("package", r#"{"command": ["x"], "port": 0}"#, expected);
        for path in ["readyz", "/ready z", "/r\\r\\nX: 1"] {
            let service = format!(r#"{{"command": ["x"], "health": "{path}"}}"#);
            assert!(gather(&["--set", &format!("services.package={service}")]).is_err(), "{path}");
        }
        let both = ["--role", "package@v2=", "--set", &format!("services.package@v2={python}")];
        check_refused(&both, "package@v2 is in `programs` and in `services`");
    }

    #[test]
    fn a_further_version_runs_beside_its_role() {
        let flags = ["--role", "account@v2=/bin/sh", "--role", "account@v3=", "--replicas"];
        let settings = gather(&[&flags[..], &["account@v2=2"]].concat()).unwrap().settings;
        let accounts: Vec<_> = settings
            .editions()
            .into_iter()
            .filter(|it| it.role == Role::Account)
            .map(|it| (it.to_string(), settings.replicas(&it), settings.program(&it)))
            .collect();
        let expected = [
            ("account".to_owned(), 1, None),
            ("account@v2".to_owned(), 2, Some(Path::new("/bin/sh"))),
            ("account@v3".to_owned(), 1, None),
        ];
        assert_eq!(accounts, expected);
    }

    #[test]
    fn files_of_routes_are_known_by_their_whole_path() {
        // Tests run in the folder of their crate.
        let flags = ["--routes", "Cargo.toml", "--routes", "src/main.rs", "--mesh", "off"];
        let further = ["--set", "authorities=Cargo.toml"];
        let settings = gather(&[&flags[..], &further].concat()).unwrap().settings;
        let folder = std::env::current_dir().unwrap();
        let expected = [folder.join("Cargo.toml"), folder.join("src/main.rs")];
        assert_eq!(settings.authorities.as_ref(), Some(&expected[0]));
        assert_eq!((settings.route_files, settings.mesh), (expected.to_vec(), MeshPlacement::Off));
    }

    #[test]
    fn services_show_who_they_are_unless_somebody_could_not_and_being_asked_for_that_is_refused() {
        let refused = |arguments: &[&str], expected: &str| {
            let error = gather(arguments).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        let without_a_word = |arguments: &[&str], tls: Tls| {
            let layered = gather(arguments).unwrap();
            let is_told = layered.mute.is_some();
            assert_eq!((layered.settings.tls, is_told), (tls, tls == Tls::Off), "{arguments:?}");
        };
        without_a_word(&[], Tls::Strict);
        without_a_word(&["--mesh", "off"], Tls::Off);
        assert!(gather(&["--tls", "off"]).unwrap().mute.is_none());
        refused(&["--tls", "strict", "--mesh", "off"], "without a mesh");
        let python = "services.package={\"command\": [\"python3\"]}";
        refused(&["--tls", "strict", "--set", python], "needs a proxy beside it");
        without_a_word(&["--set", python], Tls::Off);
        without_a_word(&["--set", python, "--mesh", "sidecar"], Tls::Strict);
        refused(&["--set", "identity_life_s=9"], "10 to 86400");
    }

    #[test]
    fn what_was_written_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Settings::of(folder.path()).unwrap().is_none());
        let mut settings = gather(&["--replicas", "scheduler=2"]).unwrap().settings;
        settings.port_base = 9_000;
        settings.write(folder.path()).unwrap();
        let read = Settings::of(folder.path()).unwrap().unwrap();
        assert_eq!((read.port_base, read.replicas(&Edition::first(Role::Scheduler))), (9_000, 2));
    }
}
