//! XBackendTrafficPolicy of `gateway.networking.x-k8s.io/v1alpha1`: the retry budget of GEP-3388.
//!
//! It changes the budget alone; what else is set about retries comes from a TrafficPolicy.

use std::{collections::BTreeMap, time::Duration};

use super::{
    Code,
    context::Context,
    document::Document,
    names::Names,
    section::Section,
    values::{self, integer, word},
    yaml::Node,
};
use crate::{destination::Attachments, policy::EVERY, retry};

/// Targets of one policy, by the API's schema.
const TARGETS_MAX: usize = 16;

/// What the file says; the rest stays.
#[derive(Debug, Clone, Copy)]
struct Budget {
    ratio: Option<f64>,
    window: Option<Duration>,
    min_per_second: Option<f64>,
}

pub(super) fn read(
    document: &Document<'_>,
    attachments: &mut BTreeMap<String, Attachments>,
    names: &mut Names,
) {
    let known = ["targetRefs", "retryConstraint", "sessionPersistence"];
    let Some(spec) = document.section("an XBackendTrafficPolicy", &known) else { return };
    spec.refuse("sessionPersistence");
    let budget = constraint(&spec);
    spec.need("targetRefs");
    for node in spec.list("targetRefs", TARGETS_MAX) {
        let Some(service) = target(document.context, node) else { continue };
        let subject = format!("retry budget of {service}");
        if !names.claim(document.context, &subject, node.spot) {
            continue;
        }
        let Some(budget) = budget else { continue };
        let every = attachments.get(EVERY).and_then(|it| it.retry.clone());
        let own = &mut attachments.entry(service).or_default().retry;
        apply(own.get_or_insert_with(|| every.unwrap_or_default()), budget);
    }
}

fn target(context: &Context<'_>, node: &Node) -> Option<String> {
    let known = ["group", "kind", "name", "sectionName"];
    let section = Section::of(context, node, "a target", &known)?;
    section.refuse("sectionName");
    section.read("group", word(&[("", ()), ("core", ())]));
    section.read_needed("kind", word(&[("Service", ())]));
    section.read_needed("name", values::name)
}

fn constraint(spec: &Section<'_>) -> Option<Budget> {
    let known = ["budget", "minRetryRate"];
    let section = spec.section("retryConstraint", "a retry constraint", &known)?;
    let budget = section.section("budget", "a budget", &["percent", "interval"]);
    let rate = section.section("minRetryRate", "a rate", &["count", "interval"]);
    let percent = budget.and_then(|it| it.read("percent", integer(0_u32, 100)));
    let count = rate.and_then(|it| it.read("count", integer(1_u32, 1_000_000)));
    let seconds = rate.map_or(1.0, |it| interval(&it).map_or(1.0, |it| it.as_secs_f64()));
    Some(Budget {
        ratio: percent.map(|it| f64::from(it) / 100.0),
        window: budget.and_then(|it| interval(&it)),
        min_per_second: count.map(|it| f64::from(it) / seconds),
    })
}

/// One second to one hour, by the API's schema.
fn interval(section: &Section<'_>) -> Option<Duration> {
    let interval = section.read("interval", values::duration)?;
    if (Duration::from_secs(1)..=Duration::from_secs(3600)).contains(&interval) {
        return Some(interval);
    }
    let spot = section.get("interval").map_or(section.spot(), |it| it.spot);
    let message = "an interval is from 1s to 1h".to_owned();
    section.context.error(spot, Code::OutOfRange, message);
    None
}

fn apply(settings: &mut retry::Settings, budget: Budget) {
    settings.budget_ratio = budget.ratio.unwrap_or(settings.budget_ratio);
    settings.budget_window = budget.window.unwrap_or(settings.budget_window);
    settings.budget_min_per_second =
        budget.min_per_second.unwrap_or(settings.budget_min_per_second);
}
