//! One consumer group as a pure state machine: (state, request, now) gives answers.
//!
//! ```text
//! Empty ──join──▶ Gathering ──all joined, or time is up──▶ Sharing ──leader hands in──▶ Stable
//!                    ▲                                         │                          │
//!                    └──────── join, leave, silence ───────────┴──────────────────────────┘
//! ```
//! A member with an instance id takes the place of the one that had it before, at once: a process
//! that was killed and is back does not wait for its own former session to end.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use base::Monotonic;
use bytes::Bytes;
use kafka_wire::{
    ErrorCode,
    messages::{
        HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, JoinProtocol, JoinedMember,
        SyncGroupRequest, SyncGroupResponse,
        admin::{DescribedGroup, DescribedMember},
    },
};

/// Ids that were given out and have not come back; more are forgotten.
const PENDING_MAX: usize = 1_000;
/// A member of version 0 names no time for a rebalance; also the least that any gets.
const REBALANCE_MIN: Duration = Duration::from_secs(5);
/// An empty group is forgotten after this; what it committed stays.
const FORGET_AFTER: Duration = Duration::from_secs(600);
/// One that never had a member, only ids that were given out, is forgotten sooner: names cost a client
/// nothing.
const FORGET_UNUSED_AFTER: Duration = Duration::from_secs(60);
/// A member that asked for its first id must come with it within this.
const FIRST_ID_MIN_VERSION: i16 = 4;

/// Bounds of what members may ask for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct GroupSettings {
    pub(crate) initial_delay: Duration,
    pub(crate) session_min: Duration,
    pub(crate) session_max: Duration,
}

/// What somebody who waits is told.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// To the member that the answer names.
    Join(JoinGroupResponse),
    /// To a member that is none any more.
    JoinOf(String, JoinGroupResponse),
    Sync(String, SyncGroupResponse),
}

#[derive(Debug)]
struct Member {
    /// How its client calls itself.
    client: String,
    /// Where that came from last.
    host: Option<IpAddr>,
    instance: Option<String>,
    session: Duration,
    rebalance: Duration,
    protocols: Vec<JoinProtocol>,
    last_seen: Monotonic,
    /// It waits for the group to gather.
    joins: bool,
    /// It waits for its share.
    syncs: bool,
    assignment: Bytes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Empty { since: Monotonic },
    Gathering { not_before: Monotonic, until: Monotonic },
    Sharing { until: Monotonic },
    Stable,
}

/// One group.
#[derive(Debug)]
pub(crate) struct Group {
    settings: GroupSettings,
    phase: Phase,
    generation: i32,
    protocol_type: String,
    protocol: String,
    leader: String,
    members: BTreeMap<String, Member>,
    /// Ids that were given out to members that have not joined with them yet.
    pending: Vec<String>,
}

impl Group {
    pub(crate) fn new(settings: GroupSettings, now: Monotonic) -> Self {
        Self {
            settings,
            phase: Phase::Empty { since: now },
            generation: 0,
            protocol_type: String::new(),
            protocol: String::new(),
            leader: String::new(),
            members: BTreeMap::new(),
            pending: Vec::new(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.members.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// What its members call what they do.
    pub(crate) fn protocol_type(&self) -> &str {
        &self.protocol_type
    }

    /// Notes how the client of a member calls itself, and where it is.
    pub(crate) fn name_client(&mut self, id: &str, client: &str, host: IpAddr) {
        if let Some(member) = self.members.get_mut(id) {
            client.clone_into(&mut member.client);
            member.host = Some(host);
        }
    }

    /// How it is, in the protocol's words.
    pub(crate) fn describe(&self, name: &str) -> DescribedGroup {
        let state = match self.phase {
            Phase::Empty { .. } => "Empty",
            Phase::Gathering { .. } => "PreparingRebalance",
            Phase::Sharing { .. } => "CompletingRebalance",
            Phase::Stable => "Stable",
        };
        let members = self.members.iter().map(|(id, member)| DescribedMember {
            member_id: id.clone(),
            client_id: member.client.clone(),
            client_host: member.host.map(|it| it.to_string()).unwrap_or_default(),
            metadata: self.said(member),
            assignment: member.assignment.clone(),
        });
        DescribedGroup {
            error: ErrorCode::None,
            group_id: name.to_owned(),
            state: state.to_owned(),
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            members: members.collect(),
        }
    }

    /// What a member says in the way of sharing that was chosen.
    fn said(&self, member: &Member) -> Bytes {
        let found = member.protocols.iter().find(|it| it.name == self.protocol);
        found.map(|it| it.metadata.clone()).unwrap_or_default()
    }

    pub(crate) fn is_forgettable(&self, now: Monotonic) -> bool {
        let after = if self.generation == 0 { FORGET_UNUSED_AFTER } else { FORGET_AFTER };
        matches!(self.phase, Phase::Empty { since } if now.saturating_since(since) > after)
    }

    /// Whether somebody who asks so takes a place that is taken already.
    pub(crate) fn has_place_of(&self, request: &JoinGroupRequest) -> bool {
        let instance = request.group_instance_id.as_ref();
        self.members.contains_key(&request.member_id)
            || instance.is_some()
                && self.members.values().any(|it| it.instance.as_ref() == instance)
    }

    /// Nobody waits any more for what a member asked: its connection is gone. From now on it has to be
    /// heard like any other.
    pub(crate) fn asks_no_more(&mut self, id: &str, now: Monotonic) {
        if let Some(member) = self.members.get_mut(id) {
            (member.joins, member.syncs) = (false, false);
            member.last_seen = now;
        }
    }

    /// Lets a member in. Gives its id, under which it waits, and the answers that are due now.
    pub(crate) fn join(
        &mut self,
        request: JoinGroupRequest,
        version: i16,
        fresh_id: String,
        now: Monotonic,
    ) -> Result<(String, Vec<Answer>), JoinGroupResponse> {
        let refuse = |error, member_id: String| JoinGroupResponse {
            error,
            generation_id: -1,
            member_id,
            ..JoinGroupResponse::default()
        };
        if let Err(error) = self.check(&request) {
            return Err(refuse(error, request.member_id));
        }
        let mut answers = Vec::new();
        if let Phase::Empty { since } = &mut self.phase {
            // Who was given an id has time to come with it.
            *since = now;
        }
        let member_id = match self.member_id(&request, version, fresh_id, &mut answers) {
            Ok(member_id) => member_id,
            Err((error, member_id)) => return Err(refuse(error, member_id)),
        };
        self.protocol_type = request.protocol_type;
        let millis = |it: i32| Duration::from_millis(u64::try_from(it).unwrap_or(0));
        let member = Member {
            client: String::new(),
            host: None,
            instance: request.group_instance_id,
            session: millis(request.session_timeout_ms),
            rebalance: millis(request.rebalance_timeout_ms).max(REBALANCE_MIN),
            protocols: request.protocols,
            last_seen: now,
            joins: true,
            syncs: false,
            assignment: Bytes::new(),
        };
        self.members.insert(member_id.clone(), member);
        self.gather(now, &mut answers);
        answers.extend(self.share_out(now));
        Ok((member_id, answers))
    }

    fn check(&self, request: &JoinGroupRequest) -> Result<(), ErrorCode> {
        let session = Duration::from_millis(u64::try_from(request.session_timeout_ms).unwrap_or(0));
        if session < self.settings.session_min || session > self.settings.session_max {
            return Err(ErrorCode::InvalidSessionTimeout);
        }
        if request.protocols.is_empty() || request.protocol_type.is_empty() {
            return Err(ErrorCode::InconsistentGroupProtocol);
        }
        let others = self.members.iter().filter(|it| *it.0 != request.member_id);
        let mut others = others.map(|it| it.1).peekable();
        if others.peek().is_none() {
            return Ok(());
        }
        let others: Vec<_> = others.collect();
        let common = request
            .protocols
            .iter()
            .any(|mine| others.iter().all(|it| it.protocols.iter().any(|it| it.name == mine.name)));
        if self.protocol_type == request.protocol_type && common {
            Ok(())
        } else {
            Err(ErrorCode::InconsistentGroupProtocol)
        }
    }

    /// The id that a member joins under.
    fn member_id(
        &mut self,
        request: &JoinGroupRequest,
        version: i16,
        fresh_id: String,
        answers: &mut Vec<Answer>,
    ) -> Result<String, (ErrorCode, String)> {
        if let Some(instance) = &request.group_instance_id {
            let holder = self.members.iter().find(|it| it.1.instance.as_ref() == Some(instance));
            let holder = holder.map(|it| it.0.clone());
            if request.member_id.is_empty() {
                if let Some(former) = holder {
                    self.remove(&former, ErrorCode::FencedInstanceId, answers);
                }
                return Ok(fresh_id);
            }
            return match holder {
                Some(id) if id == request.member_id => Ok(id),
                Some(_) => Err((ErrorCode::FencedInstanceId, request.member_id.clone())),
                None => Err((ErrorCode::UnknownMemberId, request.member_id.clone())),
            };
        }
        if request.member_id.is_empty() {
            if version < FIRST_ID_MIN_VERSION {
                return Ok(fresh_id);
            }
            // A client that lost this answer must not leave a member behind: it joins with the id.
            if self.pending.len() >= PENDING_MAX {
                self.pending.remove(0);
            }
            self.pending.push(fresh_id.clone());
            return Err((ErrorCode::MemberIdRequired, fresh_id));
        }
        let id = request.member_id.clone();
        if let Some(at) = self.pending.iter().position(|it| *it == id) {
            self.pending.swap_remove(at);
            return Ok(id);
        }
        if self.members.contains_key(&id) { Ok(id) } else { Err((ErrorCode::UnknownMemberId, id)) }
    }

    /// Begins to gather, unless that is under way. Those who wait for shares are told.
    fn gather(&mut self, now: Monotonic, answers: &mut Vec<Answer>) {
        let wait = self.members.values().map(|it| it.rebalance).max().unwrap_or(REBALANCE_MIN);
        match self.phase {
            // Its end stays: one that joins again and again must not hold up the others for ever.
            Phase::Gathering { .. } => {}
            Phase::Empty { .. } => {
                let not_before = now + self.settings.initial_delay;
                self.phase = Phase::Gathering { not_before, until: now + wait };
            }
            Phase::Sharing { .. } | Phase::Stable => {
                for (id, member) in &mut self.members {
                    if std::mem::take(&mut member.syncs) {
                        let error = ErrorCode::RebalanceInProgress;
                        let response = SyncGroupResponse { error, ..SyncGroupResponse::default() };
                        answers.push(Answer::Sync(id.clone(), response));
                    }
                }
                self.phase = Phase::Gathering { not_before: now, until: now + wait };
            }
        }
    }

    /// Ends the gathering when everybody is here, or time is up.
    fn share_out(&mut self, now: Monotonic) -> Vec<Answer> {
        let Phase::Gathering { not_before, until } = self.phase else { return Vec::new() };
        let all_here = self.members.values().all(|it| it.joins);
        if !(all_here && now >= not_before || now >= until) {
            return Vec::new();
        }
        self.members.retain(|_, it| it.joins);
        if self.members.is_empty() {
            self.phase = Phase::Empty { since: now };
            return Vec::new();
        }
        self.generation += 1;
        self.protocol = self.choose();
        if !self.members.contains_key(&self.leader) {
            self.leader = self.members.keys().next().cloned().unwrap_or_default();
        }
        let wait = self.members.values().map(|it| it.rebalance).max().unwrap_or(REBALANCE_MIN);
        self.phase = Phase::Sharing { until: now + wait };
        let everybody = self.everybody();
        let mut answers = Vec::with_capacity(self.members.len());
        for (id, member) in &mut self.members {
            member.joins = false;
            member.last_seen = now;
            member.assignment = Bytes::new();
            answers.push(Answer::Join(JoinGroupResponse {
                throttle_ms: 0,
                error: ErrorCode::None,
                generation_id: self.generation,
                protocol_name: self.protocol.clone(),
                leader: self.leader.clone(),
                member_id: id.clone(),
                members: if *id == self.leader { everybody.clone() } else { Vec::new() },
            }));
        }
        answers
    }

    /// The way of sharing that everybody understands, by the first member's taste.
    fn choose(&self) -> String {
        let Some(first) = self.members.values().next() else { return String::new() };
        let common = |name: &str| {
            self.members.values().all(|it| it.protocols.iter().any(|it| it.name == name))
        };
        let chosen = first.protocols.iter().find(|it| common(&it.name));
        chosen.map(|it| it.name.clone()).unwrap_or_default()
    }

    fn everybody(&self) -> Vec<JoinedMember> {
        let joined = |(id, member): (&String, &Member)| JoinedMember {
            member_id: id.clone(),
            group_instance_id: member.instance.clone(),
            metadata: self.said(member),
        };
        self.members.iter().map(joined).collect()
    }

    /// Takes shares from the leader, or notes that a member waits for its own.
    pub(crate) fn sync(
        &mut self,
        request: SyncGroupRequest,
        now: Monotonic,
    ) -> Result<Vec<Answer>, ErrorCode> {
        let id = request.member_id;
        self.check_member(&id, request.generation_id, request.group_instance_id.as_ref())?;
        let is_leader = id == self.leader;
        let member = self.members.get_mut(&id).ok_or(ErrorCode::UnknownMemberId)?;
        member.last_seen = now;
        match self.phase {
            Phase::Gathering { .. } => Err(ErrorCode::RebalanceInProgress),
            Phase::Empty { .. } => Err(ErrorCode::UnknownMemberId),
            Phase::Stable => {
                let assignment = member.assignment.clone();
                let response = SyncGroupResponse { assignment, ..SyncGroupResponse::default() };
                Ok(vec![Answer::Sync(id, response)])
            }
            Phase::Sharing { .. } => {
                member.syncs = true;
                if !is_leader {
                    return Ok(Vec::new());
                }
                for share in request.assignments {
                    if let Some(member) = self.members.get_mut(&share.member_id) {
                        member.assignment = share.assignment;
                    }
                }
                self.phase = Phase::Stable;
                Ok(self.hand_out(now))
            }
        }
    }

    fn hand_out(&mut self, now: Monotonic) -> Vec<Answer> {
        let mut answers = Vec::new();
        for (id, member) in &mut self.members {
            if std::mem::take(&mut member.syncs) {
                member.last_seen = now;
                let assignment = member.assignment.clone();
                let response = SyncGroupResponse { assignment, ..SyncGroupResponse::default() };
                answers.push(Answer::Sync(id.clone(), response));
            }
        }
        answers
    }

    fn check_member(
        &self,
        id: &str,
        generation: i32,
        instance: Option<&String>,
    ) -> Result<(), ErrorCode> {
        let Some(member) = self.members.get(id) else {
            let replaced = instance.is_some()
                && self.members.values().any(|it| it.instance.as_ref() == instance);
            return Err(if replaced {
                ErrorCode::FencedInstanceId
            } else {
                ErrorCode::UnknownMemberId
            });
        };
        if generation != self.generation || member.joins {
            return Err(ErrorCode::IllegalGeneration);
        }
        Ok(())
    }

    pub(crate) fn heartbeat(&mut self, request: &HeartbeatRequest, now: Monotonic) -> ErrorCode {
        let instance = request.group_instance_id.as_ref();
        if let Err(error) = self.check_member(&request.member_id, request.generation_id, instance) {
            return error;
        }
        if let Some(member) = self.members.get_mut(&request.member_id) {
            member.last_seen = now;
        }
        match self.phase {
            Phase::Gathering { .. } => ErrorCode::RebalanceInProgress,
            Phase::Empty { .. } | Phase::Sharing { .. } | Phase::Stable => ErrorCode::None,
        }
    }

    /// The id of who should leave, by its id or by the name that outlives its process.
    ///
    /// # Errors
    /// Nobody has it, or another id has the name.
    pub(crate) fn leaving(&self, id: &str, instance: Option<&String>) -> Result<String, ErrorCode> {
        let Some(instance) = instance else { return Ok(id.to_owned()) };
        let holder = self.members.iter().find(|it| it.1.instance.as_ref() == Some(instance));
        let (holder, _) = holder.ok_or(ErrorCode::UnknownMemberId)?;
        if id.is_empty() || id == holder {
            Ok(holder.clone())
        } else {
            Err(ErrorCode::FencedInstanceId)
        }
    }

    pub(crate) fn leave(&mut self, id: &str, now: Monotonic) -> Result<Vec<Answer>, ErrorCode> {
        let mut answers = Vec::new();
        if !self.remove(id, ErrorCode::UnknownMemberId, &mut answers) {
            return Err(ErrorCode::UnknownMemberId);
        }
        self.after_loss(now, &mut answers);
        Ok(answers)
    }

    /// Commits are taken from members of the running generation, also while the group gathers: they
    /// say what was processed before the partitions move.
    pub(crate) fn may_commit(&mut self, generation: i32, id: &str, now: Monotonic) -> ErrorCode {
        let Some(member) = self.members.get_mut(id) else { return ErrorCode::UnknownMemberId };
        member.last_seen = now;
        if generation == self.generation { ErrorCode::None } else { ErrorCode::IllegalGeneration }
    }

    /// Gives up silent members, and ends a gathering or sharing that took too long.
    pub(crate) fn tick(&mut self, now: Monotonic) -> Vec<Answer> {
        let mut answers = Vec::new();
        let silent: Vec<String> = self
            .members
            .iter()
            // Who waits for an answer of ours cannot be heard.
            .filter(|(_, it)| !it.joins && !it.syncs)
            .filter(|(_, it)| now.saturating_since(it.last_seen) > it.session)
            .map(|(id, _)| id.clone())
            .collect();
        for id in &silent {
            tracing::info!(member = id, "a member was silent for too long");
            self.remove(id, ErrorCode::UnknownMemberId, &mut answers);
        }
        if !silent.is_empty() {
            self.after_loss(now, &mut answers);
        }
        if matches!(self.phase, Phase::Sharing { until } if now >= until) {
            self.gather(now, &mut answers);
        }
        answers.extend(self.share_out(now));
        answers
    }

    fn after_loss(&mut self, now: Monotonic, answers: &mut Vec<Answer>) {
        if self.members.is_empty() {
            self.phase = Phase::Empty { since: now };
        } else {
            self.gather(now, answers);
            answers.extend(self.share_out(now));
        }
    }

    /// Removes a member; whatever it waits for is answered with `error`.
    fn remove(&mut self, id: &str, error: ErrorCode, answers: &mut Vec<Answer>) -> bool {
        let Some(member) = self.members.remove(id) else { return false };
        if member.joins {
            let response =
                JoinGroupResponse { error, generation_id: -1, ..JoinGroupResponse::default() };
            answers.push(Answer::JoinOf(id.to_owned(), response));
        }
        if member.syncs {
            let response = SyncGroupResponse { error, ..SyncGroupResponse::default() };
            answers.push(Answer::Sync(id.to_owned(), response));
        }
        true
    }
}

#[cfg(test)]
mod tests;
