//! `check`: whether this machine can carry a system, and whether the one that runs on it is well.

use std::path::Path;

use runtime::SystemClock;
use skein::{
    Exit, Failure, Output,
    check::{Category, Check, Verdict, is_success},
    commands::{
        arguments::CheckArguments,
        check::{Found, PROCESSES, live, looking},
    },
    preflight,
    supervise::ProcessStatus,
};

use crate::{cli::SettingArguments, layered::Layered, plan::Plan, settings::Settings, up};

/// Looks at the machine, and at what runs unless that is not asked for.
pub(crate) async fn check(
    data: &Path,
    arguments: &CheckArguments,
    output: Output,
) -> Result<Exit, Failure> {
    let bad = |it| Failure::new("bad_directory", "the data directory cannot be used").because(it);
    let data = std::path::absolute(data).map_err(bad)?;
    let now = || SystemClock::shared().now();
    let look = async || match up::admins(&data).await {
        // Its ports are its own; whether all of it listens there shows in what it says.
        Ok(admins) => {
            let other = arguments.port_base.map(|it| ports(&data, Some(it))).transpose()?;
            let mut categories = vec![preflight::machine(&data, now(), other)];
            if !arguments.pre {
                let mut live = live(&admins).await?;
                if let Some(processes) = live.iter_mut().find(|it| it.name == PROCESSES) {
                    processes.checks.insert(0, all_run(&up::running(&data).await?.services));
                }
                categories.extend(live);
            }
            Ok(Found { categories, wrong: Exit::Failed })
        }
        Err(failure) if failure.exit == Exit::Unreachable => {
            let ports = ports(&data, arguments.port_base)?;
            let mut categories = vec![preflight::machine(&data, now(), Some(ports))];
            // What keeps it from being started says more than that nothing runs.
            let wrong = if is_success(&categories) { Exit::Unreachable } else { Exit::Failed };
            if !arguments.pre {
                categories.push(nothing_runs(&failure));
            }
            Ok(Found { categories, wrong })
        }
        Err(failure) => Err(failure),
    };
    looking(look, arguments, output).await
}

/// Those of the settings that a system in this directory had, or would have, counted from another base
/// where one is asked for.
fn ports(data: &Path, base: Option<u16>) -> Result<Check, Failure> {
    let mut settings = match Settings::of(data)? {
        Some(settings) => settings,
        None => Layered::gather(&SettingArguments::default(), std::env::vars())?.settings,
    };
    if let Some(base) = base {
        settings.port_base = base;
    }
    settings.check()?;
    let plan = Plan::of(&settings, data, Path::new(""))
        .map_err(|it| Failure::new("no_port", "there is no free port").because(it))?;
    let wanted =
        |(name, ports): (String, Vec<u16>)| ports.into_iter().map(move |it| (name.clone(), it));
    let all = plan.specs.into_iter().map(|it| (it.instance, it.ports.into_values().collect()));
    let wanted: Vec<_> = all.flat_map(wanted).collect();
    Ok(preflight::ports_are_free(&wanted))
}

/// Who does not run answers nobody: `up` says how it stands with him.
fn all_run(services: &[ProcessStatus]) -> Check {
    let gone = services.iter().filter(|it| it.pid.is_none()).map(|it| {
        let end = it.last_end.as_ref().map_or_else(String::new, |end| format!(", {end}"));
        format!("{}: {}{end}", it.instance, it.state.as_str())
    });
    Check::none_of("every process runs", &gone.collect::<Vec<_>>(), "`logs NAME` says why not")
}

fn nothing_runs(failure: &Failure) -> Category {
    let running = Check {
        description: "the system runs".to_owned(),
        verdict: Verdict::Error(failure.what.to_string()),
        hint: "`up` starts it, with the same `--data`",
    };
    Category { name: PROCESSES, checks: vec![running] }
}
