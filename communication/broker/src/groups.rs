//! Consumer groups: the pure state of each, and the shell that lets members wait.

mod group;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use base::{Monotonic, SharedClock};
use kafka_wire::{
    ErrorCode,
    messages::{
        HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest,
        LeaveGroupResponse, LeftMember, SyncGroupRequest, SyncGroupResponse, admin::DescribedGroup,
    },
};
use runtime::Shutdown;
use telemetry::Gauge;
use tokio::sync::oneshot;

pub(crate) use self::group::GroupSettings;
use self::group::{Answer, Group};

/// Time between two looks at sessions and rebalances.
const TICK: Duration = Duration::from_millis(50);
const GROUP_CHARS_MAX: usize = 250;
/// Groups that there may be.
const GROUPS_MAX: usize = 10_000;

#[derive(Debug, Default)]
struct State {
    groups: BTreeMap<String, Group>,
    joins: BTreeMap<(String, String), oneshot::Sender<JoinGroupResponse>>,
    syncs: BTreeMap<(String, String), oneshot::Sender<SyncGroupResponse>>,
}

impl State {
    /// Those who waited and whose connection has ended wait no more.
    fn hear_who_left(&mut self, now: Monotonic) {
        let joins = self.joins.extract_if(.., |_, it| it.is_closed()).map(|it| it.0);
        let syncs = self.syncs.extract_if(.., |_, it| it.is_closed()).map(|it| it.0);
        for (group, member) in joins.chain(syncs) {
            if let Some(group) = self.groups.get_mut(&group) {
                group.asks_no_more(&member, now);
            }
        }
    }
}

/// Every group of the broker.
#[derive(Debug)]
pub(crate) struct Groups {
    clock: SharedClock,
    settings: GroupSettings,
    members_max: usize,
    state: Mutex<State>,
    members: Gauge,
}

impl Groups {
    pub(crate) fn new(
        clock: SharedClock,
        settings: GroupSettings,
        members_max: usize,
        members: Gauge,
    ) -> Self {
        Self { clock, settings, members_max, state: Mutex::default(), members }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Joins, and waits until the group has gathered; `from` is how the client calls itself, and its address.
    pub(crate) fn join(
        &self,
        request: JoinGroupRequest,
        version: i16,
        from: (Option<&str>, IpAddr),
    ) -> impl Future<Output = JoinGroupResponse> + Send + use<> {
        let waiting = self.begin_join(request, version, from);
        async move {
            match waiting {
                Ok(answer) => {
                    answer.await.unwrap_or_else(|_| refused_join(ErrorCode::NotCoordinator))
                }
                Err(error) => refused_join(error),
            }
        }
    }

    fn begin_join(
        &self,
        request: JoinGroupRequest,
        version: i16,
        (client, host): (Option<&str>, IpAddr),
    ) -> Result<oneshot::Receiver<JoinGroupResponse>, ErrorCode> {
        let name = request.group_id.clone();
        if name.is_empty() || name.chars().count() > GROUP_CHARS_MAX {
            return Err(ErrorCode::InvalidGroupId);
        }
        let mut state = self.state();
        let total: usize = state.groups.values().map(Group::len).sum();
        let known = state.groups.get(&name);
        // Who has a place keeps it, however full it is.
        let has_place = known.is_some_and(|it| it.has_place_of(&request));
        if !has_place && total >= self.members_max
            || known.is_none() && state.groups.len() >= GROUPS_MAX
        {
            return Err(ErrorCode::CoordinatorNotAvailable);
        }
        let (reply, answer) = oneshot::channel();
        let now = self.clock.monotonic();
        let group =
            state.groups.entry(name.clone()).or_insert_with(|| Group::new(self.settings, now));
        let fresh_id = format!("{name}-{:016x}", fastrand::u64(..));
        match group.join(request, version, fresh_id, now) {
            Ok((member, answers)) => {
                group.name_client(&member, client.unwrap_or_default(), host);
                // One that waits already under this id asks anew: the old question is dropped.
                state.joins.insert((name.clone(), member), reply);
                deliver(&mut state, &name, answers);
                self.members.set(count(&state));
                Ok(answer)
            }
            Err(refusal) => {
                // The receiver is ours.
                reply.send(refusal).ok();
                Ok(answer)
            }
        }
    }

    /// Hands shares in or asks for one's own, and waits until they are there.
    pub(crate) fn sync(
        &self,
        request: SyncGroupRequest,
    ) -> impl Future<Output = SyncGroupResponse> + Send + 'static {
        let waiting = self.begin_sync(request);
        async move {
            let answer = match waiting {
                Ok(answer) => answer.await.map_err(|_| ErrorCode::NotCoordinator),
                Err(error) => Err(error),
            };
            answer
                .unwrap_or_else(|error| SyncGroupResponse { error, ..SyncGroupResponse::default() })
        }
    }

    fn begin_sync(
        &self,
        request: SyncGroupRequest,
    ) -> Result<oneshot::Receiver<SyncGroupResponse>, ErrorCode> {
        let mut state = self.state();
        let name = request.group_id.clone();
        let member = request.member_id.clone();
        let now = self.clock.monotonic();
        let group = state.groups.get_mut(&name).ok_or(ErrorCode::UnknownMemberId)?;
        let answers = group.sync(request, now)?;
        let (reply, answer) = oneshot::channel();
        state.syncs.insert((name.clone(), member), reply);
        deliver(&mut state, &name, answers);
        Ok(answer)
    }

    /// Hears that a member is alive.
    pub(crate) fn heartbeat(&self, request: &HeartbeatRequest) -> ErrorCode {
        let now = self.clock.monotonic();
        let mut state = self.state();
        match state.groups.get_mut(&request.group_id) {
            Some(group) => group.heartbeat(request, now),
            None => ErrorCode::UnknownMemberId,
        }
    }

    /// Lets members go: one by its id, or each that is listed by its id or its name.
    pub(crate) fn leave(&self, request: LeaveGroupRequest) -> LeaveGroupResponse {
        let mut answer = LeaveGroupResponse::default();
        if request.members.is_empty() {
            answer.error = self.let_go(&request.group_id, &request.member_id, None);
        }
        answer.members = request
            .members
            .into_iter()
            .map(|it| {
                let error =
                    self.let_go(&request.group_id, &it.member_id, it.group_instance_id.as_ref());
                LeftMember {
                    member_id: it.member_id,
                    group_instance_id: it.group_instance_id,
                    error,
                }
            })
            .collect();
        answer
    }

    fn let_go(&self, name: &str, member: &str, instance: Option<&String>) -> ErrorCode {
        let now = self.clock.monotonic();
        let mut state = self.state();
        let Some(group) = state.groups.get_mut(name) else {
            return ErrorCode::UnknownMemberId;
        };
        match group.leaving(member, instance).and_then(|it| group.leave(&it, now)) {
            Ok(answers) => {
                deliver(&mut state, name, answers);
                self.members.set(count(&state));
                ErrorCode::None
            }
            Err(error) => error,
        }
    }

    /// How a group is, where it is known.
    pub(crate) fn describe(&self, group: &str) -> Option<DescribedGroup> {
        self.state().groups.get(group).map(|it| it.describe(group))
    }

    /// Every group that is known, with what its members call what they do.
    pub(crate) fn list(&self) -> BTreeMap<String, String> {
        let state = self.state();
        let groups = state.groups.iter();
        groups.map(|(name, it)| (name.clone(), it.protocol_type().to_owned())).collect()
    }

    /// Whether a group has members.
    pub(crate) fn has_members(&self, group: &str) -> bool {
        self.state().groups.get(group).is_some_and(|it| !it.is_empty())
    }

    /// Forgets a group without members.
    pub(crate) fn forget(&self, group: &str) {
        let mut state = self.state();
        if state.groups.get(group).is_some_and(Group::is_empty) {
            state.groups.remove(group);
        }
    }

    /// Groups that have members.
    pub(crate) fn alive(&self) -> BTreeSet<String> {
        let state = self.state();
        let alive = state.groups.iter().filter(|(_, it)| !it.is_empty());
        alive.map(|(name, _)| name.clone()).collect()
    }

    /// Whether a member may commit.
    pub(crate) fn may_commit(&self, group: &str, generation: i32, member: &str) -> ErrorCode {
        // A client that is no member commits for a group that has none.
        let mut state = self.state();
        let now = self.clock.monotonic();
        match state.groups.get_mut(group) {
            Some(group) if generation >= 0 || !group.is_empty() => {
                group.may_commit(generation, member, now)
            }
            None if generation >= 0 => ErrorCode::UnknownMemberId,
            Some(_) | None => ErrorCode::None,
        }
    }

    /// Gives up silent members and ends rebalances that waited long enough, until the broker stops.
    pub(crate) async fn watch(&self, shutdown: Shutdown) {
        while shutdown.or_cancel(tokio::time::sleep(TICK)).await.is_some() {
            let now = self.clock.monotonic();
            let mut state = self.state();
            state.hear_who_left(now);
            let due: Vec<_> = state
                .groups
                .iter_mut()
                .map(|(name, group)| (name.clone(), group.tick(now)))
                .filter(|it| !it.1.is_empty())
                .collect();
            for (name, answers) in due {
                deliver(&mut state, &name, answers);
            }
            state.groups.retain(|_, it| !it.is_forgettable(now));
            self.members.set(count(&state));
        }
        // Whoever waits is told to look for another coordinator.
        let mut state = self.state();
        state.joins.clear();
        state.syncs.clear();
    }
}

#[expect(clippy::cast_precision_loss, reason = "a gauge is a float; no count is as large")]
fn count(state: &State) -> f64 {
    state.groups.values().map(Group::len).sum::<usize>() as f64
}

/// Answers those who waited. One that has gone misses its answer and comes again.
fn deliver(state: &mut State, group: &str, answers: Vec<Answer>) {
    for answer in answers {
        match answer {
            Answer::Join(response) => {
                let key = (group.to_owned(), response.member_id.clone());
                if let Some(waiting) = state.joins.remove(&key) {
                    waiting.send(response).ok();
                }
            }
            Answer::JoinOf(member, response) => {
                if let Some(waiting) = state.joins.remove(&(group.to_owned(), member)) {
                    waiting.send(response).ok();
                }
            }
            Answer::Sync(member, response) => {
                if let Some(waiting) = state.syncs.remove(&(group.to_owned(), member)) {
                    waiting.send(response).ok();
                }
            }
        }
    }
}

fn refused_join(error: ErrorCode) -> JoinGroupResponse {
    JoinGroupResponse { error, generation_id: -1, ..JoinGroupResponse::default() }
}
