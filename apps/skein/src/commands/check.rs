//! `check`: whether a mesh that runs is well, as its processes say.

use std::{collections::BTreeMap, time::Duration};

use base::Timestamp;
use runtime::SystemClock;
use serde_json::Value;
use tokio::time::{Instant, interval, timeout};

use super::{
    admin::{Admins, Gathered},
    arguments::CheckArguments,
    cells::{list, text},
};
use crate::{
    Exit, Failure, Output,
    check::{self, Category, Check},
};

/// Between two looks with `--wait`.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// An identity is renewed at half life, so one with less than that of an hour left is not renewed.
const SOON: Duration = Duration::from_mins(10);

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
    let mut categories = vec![
        Category { name: PROCESSES, checks: processes(&ready) },
        Category { name: "policy", checks: policy(&pages(&routes)) },
        Category { name: "endpoints", checks: ways(&pages(&endpoints)) },
    ];
    categories.extend(identities(&pages(&identity), now));
    categories.extend(control(&pages(&services)));
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
        Check::none_of(
            "every process answers",
            &silent,
            "look at its log; `ps` where `up` runs it",
        ),
        Check::none_of(
            "every process is ready",
            &waiting.collect::<Vec<_>>(),
            "what it waits for has to run",
        ),
    ]
}

fn policy(routes: &[(String, Value)]) -> Vec<Check> {
    // All processes read the same files: what is wrong with them is told once.
    let mut alike: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, page) in routes {
        if let Some(trouble) = page["trouble"].as_str() {
            alike.entry(trouble).or_default().push(name);
        }
    }
    let told = |(trouble, names): (&str, Vec<&str>)| format!("{trouble} (at {})", names.join(", "));
    let wrong: Vec<String> = alike.into_iter().map(told).collect();
    vec![Check::none_of(
        "the newest policy is in force everywhere",
        &wrong,
        "mend the file; `analyze FILE…` judges it before anybody reads it",
    )]
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
            "start one, or take its name out of the policy",
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

/// Nothing where nobody shows an identity.
fn identities(pages: &[(String, Value)], now: Timestamp) -> Option<Category> {
    let mut showing = pages.iter().filter(|(_, page)| page["shows"] == true).peekable();
    showing.peek()?;
    let (mut closed, mut late) = (Vec::new(), Vec::new());
    for (name, page) in showing {
        let until = page["not_after"].as_str().and_then(Timestamp::parse);
        match until.map(|it| it.saturating_since(now)) {
            None => closed.push(format!("{name} has no identity, and is closed")),
            Some(Duration::ZERO) => closed.push(format!("the identity of {name} is over")),
            Some(left) if left < SOON => {
                late.push(format!("that of {name} ends in {} s", left.as_secs()));
            }
            Some(_) => {}
        }
    }
    let checks = vec![
        Check::none_of(
            "every process has an identity",
            &closed,
            "the authority has to run; `identity show`",
        ),
        Check::none_of(
            "every identity is renewed in time",
            &late,
            "the authority has to run; `identity show`",
        )
        .but_warn(),
    ];
    Some(Category { name: "identities", checks })
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
                refused.push(format!("{}: {why}", text(&proxy["name"])));
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
        let bad = json!({"trouble": "rules.yaml:4:8  no"});
        let pages = ["shop-1", "stock-1"].map(|it| (it.to_owned(), bad.clone()));
        let Verdict::Error(why) = &policy(&pages)[0].verdict else { panic!("it is wrong") };
        assert_eq!(why, "rules.yaml:4:8  no (at shop-1, stock-1)");
    }

    #[test]
    fn a_policy_that_is_not_in_force_and_a_breaker_that_is_open_are_found() {
        check(&policy(&page(json!({"trouble": null}))), &[true]);
        check(&policy(&page(json!({"trouble": "rules.yaml:4:8  no"}))), &[false]);
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
        assert!(identities(&page(json!({"shows": false, "id": null})), now).is_none());
        let checks = |until: Value| {
            identities(&page(json!({"shows": true, "not_after": until})), now).unwrap().checks
        };
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
