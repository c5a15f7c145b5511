//! One destination in simulated time: requests at a steady rate, real balancers, breakers and
//! retries, endpoints that are one formula each. The same seed gives the same outcome.
//!
//! The tests of this crate assert on it and `cargo xtask bench balance` reports it.

use std::{cmp::Reverse, collections::BinaryHeap, f64::consts::TAU, time::Duration};

use base::Random;
use mesh_policy::{
    Moment,
    balance::{self, Candidates, Load, Sample, pick_elsewhere},
    breaker::{self, Breaker, Floor, Pass, Verdict, floors},
    retry::{self, Budget, Decision, Failure, Repeatable, Situation, decide},
};

/// Time until a dead endpoint has refused a connection.
const REFUSED_AFTER: Duration = Duration::from_micros(200);

/// What is simulated.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    pub(crate) endpoints: usize,
    pub(crate) requests_per_second: u64,
    pub(crate) length: Duration,
    /// Latency of a healthy endpoint, normally distributed.
    pub(crate) mean: Duration,
    pub(crate) deviation: Duration,
    /// After so long the client gives up.
    pub(crate) timeout: Duration,
    pub(crate) trouble: Trouble,
    pub(crate) balance: balance::Settings,
    pub(crate) breaker: Option<breaker::Settings>,
    pub(crate) retry: Option<retry::Settings>,
    pub(crate) seed: u64,
}

/// What happens to the first endpoints.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Trouble {
    /// The first takes this long for every request that comes within a time.
    Slow { from: Duration, until: Duration, latency: Duration },
    /// So many of the first fail every request at once with 503.
    FailsFast { count: usize },
    /// So many of the first die: what is on its way is reset, what comes is refused.
    Killed { count: usize, at: Duration },
    /// The last is new at this time; nobody calls it before.
    Added { at: Duration },
}

impl Setup {
    /// Buoyant's experiment ("Beyond Round Robin", 2016): 11 backends, 1,000 requests a second for a
    /// minute, from second 15 to 45 one of them takes 2 s.
    pub(crate) fn buoyant(balance: balance::Settings) -> Self {
        Self {
            endpoints: 11,
            requests_per_second: 1_000,
            length: Duration::from_secs(60),
            mean: Duration::from_millis(167),
            deviation: Duration::from_millis(5),
            timeout: Duration::from_secs(1),
            trouble: Trouble::Slow {
                from: Duration::from_secs(15),
                until: Duration::from_secs(45),
                latency: Duration::from_secs(2),
            },
            balance,
            breaker: None,
            retry: None,
            seed: 41,
        }
    }
}

/// What became of one request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Answer {
    /// Since the start.
    pub(crate) came: Duration,
    pub(crate) took: Duration,
    pub(crate) succeeded: bool,
}

/// What was seen.
#[derive(Debug, Clone, Default)]
pub(crate) struct Outcome {
    pub(crate) answers: Vec<Answer>,
    /// When each endpoint was called.
    pub(crate) calls: Vec<Vec<Duration>>,
    pub(crate) retries: u64,
}

impl Outcome {
    /// This percentile of the answers, failed ones included, to the requests that came within a time.
    pub(crate) fn percentile(&self, percent: usize, from: Duration, until: Duration) -> Duration {
        let within = self.answers.iter().filter(|it| (from..until).contains(&it.came));
        let mut took: Vec<Duration> = within.map(|it| it.took).collect();
        took.sort_unstable();
        let rank = (took.len() * percent).div_ceil(100).saturating_sub(1);
        took.get(rank).copied().unwrap_or_default()
    }

    pub(crate) fn failed(&self) -> usize {
        self.answers.iter().filter(|it| !it.succeeded).count()
    }

    pub(crate) fn success_percent(&self) -> f64 {
        100.0 * (1.0 - self.failed() as f64 / self.answers.len() as f64)
    }

    /// The endpoint's share of all calls within a time.
    pub(crate) fn share(&self, endpoint: usize, from: Duration, until: Duration) -> f64 {
        let within =
            |it: &Vec<Duration>| it.iter().filter(|it| (from..until).contains(*it)).count();
        let all: usize = self.calls.iter().map(within).sum();
        within(&self.calls[endpoint]) as f64 / all as f64
    }
}

/// Runs it.
pub(crate) fn run(setup: &Setup) -> Outcome {
    let mut world = World::new(setup);
    while let Some(Reverse((at, _, event))) = world.events.pop() {
        world.now = at;
        match event {
            Event::Try { request } => world.start(request),
            Event::End { request } => world.end(request),
        }
    }
    world.outcome
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Try { request: usize },
    End { request: usize },
}

struct Request {
    came: Duration,
    tries: Vec<usize>,
    /// Of the try on its way.
    pass: Pass,
    began: Duration,
    end: End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Answered,
    Failed(Failure),
}

struct Endpoint {
    load: Load,
    breaker: Breaker,
    floor: Floor,
}

struct World<'a> {
    setup: &'a Setup,
    now: Duration,
    /// Soonest first; among equals in the order in which they were planned.
    events: BinaryHeap<Reverse<(Duration, u64, Event)>>,
    planned: u64,
    requests: Vec<Request>,
    endpoints: Vec<Endpoint>,
    budget: Budget,
    turn: u64,
    random: Random,
    outcome: Outcome,
}

impl<'a> World<'a> {
    fn new(setup: &'a Setup) -> Self {
        let new_at = |index| match setup.trouble {
            Trouble::Added { at } if index + 1 == setup.endpoints => moment(at),
            // The others have been there for long, and are warm.
            Trouble::Added { .. } => Moment::default(),
            _ => moment(Duration::ZERO),
        };
        let endpoint = |index| Endpoint {
            load: Load::new(&setup.balance, new_at(index)),
            breaker: Breaker::new(),
            floor: Floor::default(),
        };
        let mut world = Self {
            setup,
            now: Duration::ZERO,
            events: BinaryHeap::new(),
            planned: 0,
            requests: Vec::new(),
            endpoints: (0..setup.endpoints).map(endpoint).collect(),
            budget: Budget::new(&setup.retry.clone().unwrap_or_default()),
            turn: 0,
            random: Random::with_seed(setup.seed),
            outcome: Outcome { calls: vec![Vec::new(); setup.endpoints], ..Outcome::default() },
        };
        let gap = Duration::from_secs(1).div_f64(setup.requests_per_second as f64);
        let mut came = Duration::ZERO;
        while came < setup.length {
            let (pass, end) = (Pass::Normal, End::Answered);
            world.plan(came, Event::Try { request: world.requests.len() });
            world.requests.push(Request { came, tries: Vec::new(), pass, began: came, end });
            came += gap;
        }
        world
    }

    fn plan(&mut self, at: Duration, event: Event) {
        self.planned += 1;
        self.events.push(Reverse((at, self.planned, event)));
    }

    fn start(&mut self, request: usize) {
        let now = moment(self.now);
        let tries = self.requests[request].tries.clone();
        if tries.is_empty() {
            self.budget.arrive(0, now);
        }
        self.turn += 1;
        let (algorithm, turn) = (self.setup.balance.algorithm, self.turn);
        let view = View { setup: self.setup, endpoints: &self.endpoints, now: self.now };
        let picked = pick_elsewhere(algorithm, &view, &tries, turn, &mut self.random);
        let Some(index) = picked else {
            return self.answer(request, false);
        };
        let endpoint = &mut self.endpoints[index];
        let Some(pass) = endpoint.breaker.admit(endpoint.floor, now) else {
            return self.answer(request, false);
        };
        endpoint.load.begin();
        self.outcome.calls[index].push(self.now);
        let (at, end) = self.fate(index, self.requests[request].came + self.setup.timeout);
        let state = &mut self.requests[request];
        state.tries.push(index);
        (state.pass, state.began, state.end) = (pass, self.now, end);
        self.plan(at, Event::End { request });
    }

    /// When and how a call of this endpoint ends that begins now.
    fn fate(&mut self, endpoint: usize, deadline: Duration) -> (Duration, End) {
        // Box and Muller: two uniform draws make a normal one.
        let radius = (-2.0 * (1.0 - self.random.unit()).ln()).sqrt();
        let normal = radius * (TAU * self.random.unit()).cos();
        let deviation = normal * self.setup.deviation.as_secs_f64();
        let usual = (self.setup.mean.as_secs_f64() + deviation).max(0.0);
        let mut done = self.now + Duration::from_secs_f64(usual);
        match self.setup.trouble {
            Trouble::Slow { from, until, latency }
                if endpoint == 0 && (from..until).contains(&self.now) =>
            {
                done = self.now + latency;
            }
            Trouble::FailsFast { count } if endpoint < count => {
                return (self.now + Duration::from_millis(1), End::Failed(Failure::Status(503)));
            }
            Trouble::Killed { count, at } if endpoint < count && self.now >= at => {
                return (self.now + REFUSED_AFTER, End::Failed(Failure::Unprocessed));
            }
            Trouble::Killed { count, at } if endpoint < count && done > at => {
                return (at, End::Failed(Failure::Reset));
            }
            _ => {}
        }
        if done > deadline {
            return (deadline, End::Failed(Failure::TryTimeout));
        }
        (done, End::Answered)
    }

    fn end(&mut self, request: usize) {
        let now = moment(self.now);
        let Request { came, ref tries, pass, began, end } = self.requests[request];
        let (tried, Some(&index)) = (tries.len(), tries.last()) else { return };
        let endpoint = &mut self.endpoints[index];
        let after = self.now - began;
        let (sample, verdict) = match end {
            End::Answered => (Sample::Answered(after), Verdict::Success),
            End::Failed(_) => (Sample::Failed { after, retry_after: None }, Verdict::Failure),
        };
        endpoint.load.end(&self.setup.balance, sample, now);
        if let Some(settings) = &self.setup.breaker {
            let changed = endpoint
                .breaker
                .record(settings, pass, verdict, None, now, &mut self.random)
                .is_some();
            if changed {
                self.set_floors();
            }
        }
        let End::Failed(failure) = end else { return self.answer(request, true) };
        let Some(settings) = &self.setup.retry else { return self.answer(request, false) };
        let situation = Situation {
            repeatable: Repeatable::Yes,
            depth: 0,
            tries: u32::try_from(tried).unwrap_or(u32::MAX),
            failure,
            body_is_replayable: true,
            answer_begun: false,
            retry_after: None,
            time_left: Some((came + self.setup.timeout).saturating_sub(self.now)),
        };
        match decide(settings, None, &situation, &mut self.budget, now, &mut self.random) {
            Decision::Again { after } => {
                self.outcome.retries += 1;
                self.plan(self.now + after, Event::Try { request });
            }
            Decision::Stop(_) => self.answer(request, false),
        }
    }

    fn set_floors(&mut self) {
        let open: Vec<_> = self.endpoints.iter().map(|it| it.breaker.open_since()).collect();
        for (endpoint, floor) in self.endpoints.iter_mut().zip(floors(&open)) {
            endpoint.floor = floor;
        }
    }

    fn answer(&mut self, request: usize, succeeded: bool) {
        let came = self.requests[request].came;
        self.outcome.answers.push(Answer { came, took: self.now - came, succeeded });
    }
}

/// The endpoints as the balancer sees them.
struct View<'a> {
    setup: &'a Setup,
    endpoints: &'a [Endpoint],
    now: Duration,
}

impl Candidates for View<'_> {
    fn len(&self) -> usize {
        match self.setup.trouble {
            Trouble::Added { at } if self.now < at => self.endpoints.len() - 1,
            _ => self.endpoints.len(),
        }
    }

    fn is_eligible(&self, index: usize) -> bool {
        let endpoint = &self.endpoints[index];
        endpoint.breaker.would_admit(endpoint.floor, moment(self.now))
    }

    fn score(&self, index: usize) -> f64 {
        self.endpoints[index].load.cost(&self.setup.balance, moment(self.now))
    }

    fn weight(&self, index: usize) -> f64 {
        self.endpoints[index].load.warmth(&self.setup.balance, moment(self.now))
    }
}

/// The simulation begins long after the clock.
fn moment(at: Duration) -> Moment {
    Moment::from_millis(3_600_000) + at
}
