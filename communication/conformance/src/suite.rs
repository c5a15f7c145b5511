//! Runs scenarios against a backend: many beside each other, those that stop the log by themselves.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use kafka_wire::{
    ApiKey,
    messages::{
        MetadataRequest, MetadataResponse,
        admin::{DeleteTopicsRequest, DeleteTopicsResponse},
    },
};
use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{Instant, timeout},
};

use crate::{
    backend::Backend,
    capability::Offer,
    judge::Stop,
    scenario::{Outcome, Scenario},
    stage::Stage,
    wire::Wire,
};

/// Scenarios at a time: mostly they wait for a group to gather.
const AT_ONCE: usize = 8;
/// Longest that a scenario may take.
const SCENARIO_WITHIN: Duration = Duration::from_secs(120);
/// Longest that the probes may take.
const PROBE_WITHIN: Duration = Duration::from_secs(60);

/// Why nothing was tried.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the log cannot be tried: {why}")]
pub struct ProbeError {
    /// What happened.
    pub why: String,
}

/// What came of one scenario.
#[derive(Debug, Clone)]
pub struct Row {
    /// Which.
    pub scenario: Scenario,
    /// What came of it.
    pub outcome: Outcome,
    /// How long it took.
    pub took: Duration,
}

/// What came of all, in the order of the suite.
#[derive(Debug, Clone)]
pub struct Report {
    /// What was tried.
    pub backend: String,
    /// One row for each scenario.
    pub rows: Vec<Row>,
}

impl Report {
    /// The rows whose promise does not hold.
    pub fn broken(&self) -> impl Iterator<Item = (&Scenario, &str)> {
        self.rows.iter().filter_map(|it| match &it.outcome {
            Outcome::DoesNotHold { reason } => Some((&it.scenario, reason.as_str())),
            Outcome::Holds | Outcome::NotOffered { .. } => None,
        })
    }

    /// How many hold, do not hold, are not offered.
    #[must_use]
    pub fn counts(&self) -> (usize, usize, usize) {
        let broken = self.broken().count();
        let holds = self.rows.iter().filter(|it| it.outcome == Outcome::Holds).count();
        (holds, broken, self.rows.len() - holds - broken)
    }
}

/// The scenarios that are to run.
#[derive(Debug, Clone)]
pub struct Suite {
    scenarios: Vec<Scenario>,
}

impl Suite {
    /// Those whose group and name contain the pattern; all without one.
    #[must_use]
    pub fn new(only: Option<&str>) -> Self {
        let all = crate::scenarios::all();
        let wanted = |it: &Scenario| only.is_none_or(|pattern| it.id().contains(pattern));
        Self { scenarios: all.into_iter().filter(wanted).collect() }
    }

    /// The scenarios, in the order of the table.
    #[must_use]
    pub fn scenarios(&self) -> &[Scenario] {
        &self.scenarios
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.scenarios.is_empty()
    }

    /// Runs them; `ended` hears of each as it ends. Every topic and group that is made has a prefix of
    /// this run, and goes at the end where the backend lets it.
    ///
    /// # Errors
    /// The backend cannot be reached, or does not say what it speaks.
    pub async fn run(&self, backend: &Backend, ended: impl Fn(&Row)) -> Result<Report, ProbeError> {
        let prefix = format!("conformance-{:08x}-", fastrand::u32(..));
        let probed = timeout(PROBE_WITHIN, Offer::probe(backend, &prefix)).await;
        let offer = probed.map_err(|_| ProbeError { why: "no answer in time".to_owned() })?;
        let offer = offer.map_err(|Stop(why)| ProbeError { why })?;
        let (mut rows, mut beside, mut alone) = (BTreeMap::new(), JoinSet::new(), Vec::new());
        let places = Arc::new(Semaphore::new(AT_ONCE));
        for (number, scenario) in self.scenarios.iter().copied().enumerate() {
            let lacking = scenario.needs.iter().copied().find(|it| !offer.has(*it));
            if let Some(capability) = lacking {
                let reason = offer.lack(capability);
                let outcome = Outcome::NotOffered { capability, reason };
                let row = Row { scenario, outcome, took: Duration::ZERO };
                ended(&row);
                rows.insert(number, row);
                continue;
            }
            let stage = Stage::new(backend.clone(), format!("{prefix}{number}-"));
            if scenario.is_alone() {
                alone.push((number, scenario, stage));
                continue;
            }
            let places = Arc::clone(&places);
            beside.spawn(async move {
                let _place = places.acquire().await;
                (number, play(scenario, stage).await)
            });
        }
        while let Some(joined) = beside.join_next().await {
            // A panic is caught in `play`.
            let Ok((number, row)) = joined else { continue };
            ended(&row);
            rows.insert(number, row);
        }
        for (number, scenario, stage) in alone {
            let row = play(scenario, stage).await;
            ended(&row);
            rows.insert(number, row);
        }
        sweep(backend, &prefix).await;
        Ok(Report { backend: backend.name.clone(), rows: rows.into_values().collect() })
    }
}

async fn play(scenario: Scenario, stage: Stage) -> Row {
    let began = Instant::now();
    let stage = Arc::new(stage);
    let playing = Arc::clone(&stage);
    let mut task = JoinSet::new();
    task.spawn(async move { (scenario.run)(&playing).await });
    let ended = timeout(SCENARIO_WITHIN, task.join_next()).await;
    let outcome = match ended {
        Ok(Some(Ok(Ok(())))) => Outcome::Holds,
        Ok(Some(Ok(Err(Stop(reason))))) => Outcome::DoesNotHold { reason },
        Ok(Some(Err(error))) => Outcome::DoesNotHold { reason: format!("it panicked: {error}") },
        Ok(None) | Err(_) => {
            let seconds = SCENARIO_WITHIN.as_secs();
            Outcome::DoesNotHold { reason: format!("it did not end within {seconds} s") }
        }
    };
    let took = began.elapsed();
    task.shutdown().await;
    stage.clear().await;
    Row { scenario, outcome, took }
}

/// Removes what is left of a run. What a backend cannot remove stays.
async fn sweep(backend: &Backend, prefix: &str) {
    let swept = async {
        let mut wire = Wire::open(backend).await?;
        let all: MetadataResponse = wire.ask(ApiKey::Metadata, &MetadataRequest::default()).await?;
        let names = all.topics.into_iter().map(|it| it.name).filter(|it| it.starts_with(prefix));
        let question = DeleteTopicsRequest { names: names.collect(), timeout_ms: 10_000 };
        let _removed: DeleteTopicsResponse = wire.ask(ApiKey::DeleteTopics, &question).await?;
        Ok::<_, Stop>(())
    };
    swept.await.ok();
}
