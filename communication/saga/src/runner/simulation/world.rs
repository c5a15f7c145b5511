//! Processes, their store, their clock, and what happens to them in which order.

use std::{collections::VecDeque, path::PathBuf, sync::Arc, time::Duration};

use ::store::{Store, StoreSettings};
use base::{Clock as _, ManualClock, Monotonic, Random, Timestamp};
use telemetry::Telemetry;

use super::{
    STEPS, definition,
    services::{Fault, Kept, Planned, Services},
    start, stop,
};
use crate::{
    MIGRATIONS,
    caller::OutgoingCall,
    config::{EngineKind, EngineSettings},
    machine::{Signal, SignalKind, Start},
    metrics::Metrics,
    outcome::CallResult,
    runner::{Core, DueCall, Now, Order},
    store::{
        Append, Appended, Asker, Definitions, Taken, append, get, history, poll, recover,
        renew_instance, signal, take_instance,
    },
    view::{HistoryRow, SagaView},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AfterCrash {
    /// The same instance is back at once.
    Restart,
    /// Another instance takes over when the lease has run out.
    Takeover,
}

/// One process.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) name: &'static str,
    pub(super) kind: EngineKind,
    pub(super) process: String,
    pub(super) core: Core,
    pub(super) orders: VecDeque<Order>,
    /// It was stopped: it does nothing and renews nothing, and believes that all is well.
    pub(super) asleep: bool,
}

pub(super) struct World {
    pub(super) store: Store,
    pub(super) definitions: Arc<Definitions>,
    pub(super) clock: Arc<ManualClock>,
    pub(super) boot_id: String,
    pub(super) services: Services,
    pub(super) faults: Vec<Planned>,
    pub(super) processes: Vec<Process>,
    pub(super) started: u64,
    /// How many more boundaries are passed before a crash.
    pub(super) crash_after: Option<u64>,
    pub(super) boundaries: u64,
    pub(super) random: Random,
    pub(super) settings: EngineSettings,
    pub(super) _directory: tempfile::TempDir,
}

/// Memory instead of a disk where there is one: these tests are not about syncing.
pub(super) fn directory() -> tempfile::TempDir {
    let shared = PathBuf::from("/dev/shm");
    if shared.is_dir() { tempfile::tempdir_in(shared) } else { tempfile::tempdir() }.unwrap()
}

impl World {
    pub(super) async fn new(seed: u64) -> Self {
        let clock = Arc::new(ManualClock::new(Timestamp::from_millis(3_600_000)));
        let directory = directory();
        let settings = StoreSettings { boot_id: Some("boot".to_owned()), ..Default::default() };
        let store = Store::open(
            directory.path().join("saga.db"),
            MIGRATIONS,
            settings,
            clock.clone(),
            &Telemetry::disabled(),
        )
        .unwrap();
        let world = Self {
            store,
            definitions: Arc::new(Definitions::new(vec![definition(), stop()])),
            clock,
            boot_id: "boot".to_owned(),
            services: Services::default(),
            faults: Vec::new(),
            processes: Vec::new(),
            started: 0,
            crash_after: None,
            boundaries: 0,
            random: Random::with_seed(seed),
            settings: EngineSettings::default(),
            _directory: directory,
        };
        let definitions = Arc::clone(&world.definitions);
        world.store.write(move |it| definitions.keep(it)).await.unwrap();
        world
    }

    pub(super) fn now(&self) -> Now {
        Now { wall: self.clock.now(), monotonic: self.clock.monotonic() }
    }

    pub(super) async fn start(&mut self, name: &'static str, kind: EngineKind) -> usize {
        self.started += 1;
        let process = format!("process-{}", self.started);
        let (lease, id) = (self.settings.lease(), process.clone());
        let taken = self
            .store
            .write(move |it| take_instance(it, name, kind, &id, lease, true))
            .await
            .unwrap();
        assert!(matches!(taken, Taken::Until { .. }));
        let core = Core::new(
            name.into(),
            kind,
            self.settings.clone(),
            Arc::clone(&self.definitions),
            Metrics::new(&Telemetry::disabled()),
            Random::with_seed(self.random.bits()),
        );
        let orders = VecDeque::new();
        self.processes.push(Process { name, kind, process, core, orders, asleep: false });
        let index = self.processes.len() - 1;
        let mut after = 0;
        while let Some(last) = self.recover(index, after, 2).await {
            after = last;
        }
        index
    }

    /// Takes up to `limit` of its own sagas behind row `after`; gives the last row.
    pub(super) async fn recover(&mut self, index: usize, after: i64, limit: usize) -> Option<i64> {
        let (definitions, name) = (Arc::clone(&self.definitions), self.processes[index].name);
        let read = move |it: &::store::Reader<'_>| recover(it, &definitions, name, after, limit);
        let (loaded, last) = self.store.read(read).await.unwrap();
        let now = self.now();
        self.processes[index].core.claim(loaded, false, now);
        last
    }

    pub(super) fn submit(&mut self, index: usize, id: &str) {
        self.submit_start(index, start(id));
    }

    pub(super) fn submit_start(&mut self, index: usize, start: Start) {
        let (reply, _) = tokio::sync::oneshot::channel();
        let now = self.now();
        self.processes[index].core.submit(start, reply, now);
    }

    pub(super) async fn say(&mut self, saga: &str, id: &str, kind: SignalKind) {
        let (saga, definitions) = (saga.to_owned(), Arc::clone(&self.definitions));
        let word = Signal { id: id.to_owned(), kind };
        self.store.write(move |it| signal(it, &definitions, &saga, &word)).await.unwrap();
    }

    pub(super) async fn cancel(&mut self, saga: &str) {
        let stop = Start { definition: "stop".to_owned(), ..start(&format!("{saga}/stop")) };
        // Whose id has a part before a slash works on that.
        let or_else = match saga.split_once('/') {
            Some((subject, _)) => stop.about(subject),
            None => stop,
        };
        let kind = SignalKind::Cancel { reason: "asked".to_owned(), or_else: Some(or_else) };
        self.say(saga, "c", kind).await;
    }

    /// True when the process dies here.
    pub(super) fn dies(&mut self) -> bool {
        self.boundaries += 1;
        match &mut self.crash_after {
            Some(0) => {
                self.crash_after = None;
                true
            }
            Some(left) => {
                *left -= 1;
                false
            }
            None => false,
        }
    }

    pub(super) fn fault(&mut self, call: &OutgoingCall) -> Option<Fault> {
        let matches = |it: &&mut Planned| {
            STEPS[it.step] == call.operation.step
                && it.direction == call.operation.direction
                && it.times > 0
        };
        let planned = self.faults.iter_mut().find(matches)?;
        planned.times -= 1;
        Some(planned.fault)
    }

    /// Carries out one order. False when the process died with it.
    pub(super) async fn carry_out(&mut self, index: usize, order: Order) -> bool {
        match order {
            Order::Poll => self.poll(index).await,
            Order::Look(row) => {
                self.recover(index, row - 1, 1).await;
            }
            Order::Append(append) => {
                let result = self.write(&append).await;
                if self.dies() {
                    return false;
                }
                let now = self.now();
                self.processes[index].core.appended(&append, Some(result), now);
            }
            Order::Call(due) => {
                let result = self.call(&due).await;
                if self.dies() {
                    return false;
                }
                let now = self.now();
                self.processes[index].core.answered(&due, result, Duration::ZERO, now);
            }
        }
        true
    }

    pub(super) async fn call(&mut self, due: &DueCall) -> CallResult {
        let fault = self.fault(&due.call);
        let result = self.services.serve(&due.call, fault);
        if result == CallResult::TimedOut {
            self.pass(due.call.deadline).await;
        }
        result
    }

    pub(super) async fn write(&self, one: &Arc<Append>) -> Appended {
        let (one, definitions) = (Arc::clone(one), Arc::clone(&self.definitions));
        self.store.write(move |it| append(it, &definitions, &(), &one)).await.unwrap()
    }

    pub(super) async fn poll(&mut self, index: usize) {
        let asker = Asker {
            instance: self.processes[index].name.into(),
            kind: self.processes[index].kind,
            boot_id: self.boot_id.clone(),
            now: self.clock.monotonic(),
        };
        let definitions = Arc::clone(&self.definitions);
        let polled = self.store.read(move |it| poll(it, &definitions, &asker, 64)).await.unwrap();
        let now = self.now();
        let core = &mut self.processes[index].core;
        core.claim(polled.claimable, true, now);
        for (saga, signal) in polled.signals {
            core.signalled(&saga, signal, now);
        }
    }

    pub(super) async fn renew(&mut self) {
        for process in self.processes.iter().filter(|it| !it.asleep) {
            let (name, id, lease) = (process.name, process.process.clone(), self.settings.lease());
            let renewed =
                self.store.write(move |it| renew_instance(it, name, &id, lease)).await.unwrap();
            assert!(renewed.is_some(), "{name} lost its own lease");
        }
    }

    /// Moves the time on; who is awake keeps its lease.
    pub(super) async fn pass(&mut self, time: Duration) {
        let mut left = time;
        while !left.is_zero() {
            let piece = left.min(Duration::from_secs(1));
            self.clock.advance(piece);
            self.renew().await;
            left -= piece;
        }
    }

    /// One round for one process: its orders, or a look around. True when it did anything;
    /// none when it died.
    pub(super) async fn round(&mut self, index: usize) -> Option<bool> {
        self.plan(index);
        if let Some(order) = self.processes[index].orders.pop_front() {
            return self.carry_out(index, order).await.then_some(true);
        }
        self.poll(index).await;
        self.plan(index);
        Some(!self.processes[index].orders.is_empty())
    }

    /// Goes on until a call of the process is what comes next.
    pub(super) async fn until_it_calls(&mut self, index: usize) {
        self.plan(index);
        while !matches!(self.processes[index].orders.front(), Some(Order::Call(_))) {
            self.round(index).await;
            self.plan(index);
        }
    }

    pub(super) fn plan(&mut self, index: usize) {
        let now = self.now();
        let process = &mut self.processes[index];
        process.core.wake(now);
        process.core.start_calls(now);
        process.orders.extend(process.core.take_orders());
    }

    /// A sleeper wakes. What it had handed to its store is written now, if the store takes it;
    /// then it finds its lease gone, forgets everything and takes what is still its own.
    pub(super) async fn awaken(&mut self, index: usize) {
        self.processes[index].asleep = false;
        self.plan(index);
        while let Some(order) = self.processes[index].orders.pop_front() {
            if let Order::Append(append) = order {
                self.write(&append).await;
            }
        }
        self.crash(index, AfterCrash::Restart).await;
    }

    /// Runs until nothing is left to do; who dies is replaced as `after_crash` says.
    pub(super) async fn settle(&mut self, after_crash: AfterCrash) {
        for _ in 0..20_000 {
            let mut busy = false;
            let mut index = 0;
            while index < self.processes.len() {
                if self.processes[index].asleep {
                    index += 1;
                    continue;
                }
                match self.round(index).await {
                    Some(did) => {
                        busy |= did;
                        index += 1;
                    }
                    None => {
                        self.crash(index, after_crash).await;
                        busy = true;
                    }
                }
            }
            if busy {
                continue;
            }
            let wakes = self.processes.iter().filter(|it| !it.asleep);
            let Some(wake) = wakes.filter_map(|it| it.core.next_wake()).min() else { return };
            let now: Monotonic = self.clock.monotonic();
            self.pass(wake.saturating_since(now).max(Duration::from_millis(1))).await;
        }
        panic!("no end at {:?}", self.clock);
    }

    pub(super) async fn crash(&mut self, index: usize, after: AfterCrash) {
        let dead = self.processes.remove(index);
        match after {
            AfterCrash::Restart => {
                self.start(dead.name, dead.kind).await;
            }
            AfterCrash::Takeover => {
                self.pass(Duration::from_millis(3_500)).await;
                let names = match dead.kind {
                    EngineKind::Forward => ["forward-a", "forward-b", "forward-c"],
                    EngineKind::Compensating => ["undo-a", "undo-b", "undo-c"],
                };
                let position = names.iter().position(|it| *it == dead.name).unwrap();
                self.start(names[(position + 1) % 3], dead.kind).await;
            }
        }
    }

    pub(super) async fn view(&self, id: &str) -> SagaView {
        self.view_of(id).await.unwrap()
    }

    pub(super) async fn view_of(&self, id: &str) -> Option<SagaView> {
        let (id, definitions) = (id.to_owned(), Arc::clone(&self.definitions));
        self.store.read(move |it| get(it, &definitions, &id)).await.unwrap()
    }

    pub(super) async fn history(&self, id: &str) -> Vec<HistoryRow> {
        let id = id.to_owned();
        self.store.read(move |it| history(it, &id)).await.unwrap()
    }

    pub(super) fn kept(&self, saga: &str, step: &str) -> Kept {
        self.services.kept.get(&(saga.to_owned(), step.to_owned())).cloned().unwrap_or_default()
    }
}
