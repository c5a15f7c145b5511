//! A fleet and a plan for tests.

use std::time::Duration;

use fleet_rules::{Airframe, FleetConfig, Rules};

use super::PlanRules;

/// Batteries that take half an hour to charge, so that a test notices.
pub(crate) fn rules() -> Rules {
    FleetConfig { full_charge_seconds: 1_800.0, no_fly: Vec::new(), ..FleetConfig::default() }
        .rules()
}

pub(crate) const AIRFRAME: Airframe = Airframe { payload_kg: 25.0, range_m: 20_000.0 };

/// A day and a month at twenty times the pace.
pub(crate) const PLAN: PlanRules = PlanRules {
    horizon: Duration::from_secs(20 * 86_400),
    ahead: Duration::from_secs(20 * 30 * 86_400),
    lead: Duration::from_secs(20 * 3_600),
    slack: Duration::from_secs(30),
    grace: Duration::from_secs(20),
};
