use super::*;

const SETTINGS: GroupSettings = GroupSettings {
    initial_delay: Duration::from_millis(20),
    session_min: Duration::from_millis(500),
    session_max: Duration::from_secs(60),
};
const SECOND: Duration = Duration::from_secs(1);

struct Fixture {
    group: Group,
    now: Monotonic,
    ids: u32,
}

impl Fixture {
    fn new() -> Self {
        let now = Monotonic::from_millis(1_000_000);
        Self { group: Group::new(SETTINGS, now), now, ids: 0 }
    }

    fn join(
        &mut self,
        member: &str,
        instance: Option<&str>,
    ) -> Result<(String, Vec<Answer>), JoinGroupResponse> {
        self.ids += 1;
        let protocol = JoinProtocol { name: "range".to_owned(), metadata: Bytes::new() };
        let request = JoinGroupRequest {
            group_id: "g".to_owned(),
            session_timeout_ms: 6_000,
            rebalance_timeout_ms: 10_000,
            member_id: member.to_owned(),
            group_instance_id: instance.map(str::to_owned),
            protocol_type: "consumer".to_owned(),
            protocols: vec![protocol],
        };
        self.group.join(request, 5, format!("m{}", self.ids), self.now)
    }

    fn joined(&mut self, member: &str, instance: Option<&str>) -> String {
        self.join(member, instance).unwrap().0
    }

    fn tick(&mut self, by: Duration) -> Vec<Answer> {
        self.now = self.now + by;
        self.group.tick(self.now)
    }

    fn sync(&mut self, member: &str) -> Result<Vec<Answer>, ErrorCode> {
        let request = SyncGroupRequest {
            member_id: member.to_owned(),
            generation_id: self.group.generation,
            ..SyncGroupRequest::default()
        };
        self.group.sync(request, self.now)
    }

    fn beat(&mut self, member: &str) -> ErrorCode {
        let request = HeartbeatRequest {
            member_id: member.to_owned(),
            generation_id: self.group.generation,
            ..HeartbeatRequest::default()
        };
        self.group.heartbeat(&request, self.now)
    }

    /// A stable group of one static member.
    fn stable() -> (Self, String) {
        let mut fixture = Self::new();
        let member = fixture.joined("", Some("i1"));
        assert_eq!(fixture.tick(SECOND).len(), 1);
        assert_eq!(fixture.sync(&member).unwrap().len(), 1);
        (fixture, member)
    }
}

#[test]
fn members_that_come_together_share_one_generation() {
    let mut fixture = Fixture::new();
    let (one, two) = (fixture.joined("", Some("i1")), fixture.joined("", Some("i2")));
    let answers = fixture.tick(SECOND);
    assert_eq!(answers.len(), 2);
    for answer in answers {
        let Answer::Join(response) = answer else { panic!("{answer:?}") };
        assert_eq!(response.generation_id, 1);
        let is_leader = response.member_id == response.leader;
        assert_eq!(response.members.len(), if is_leader { 2 } else { 0 });
    }
    let (leader, other) = if fixture.group.leader == one { (one, two) } else { (two, one) };
    assert_eq!(fixture.sync(&other), Ok(Vec::new()));
    assert_eq!(fixture.sync(&leader).unwrap().len(), 2);
}

#[test]
fn a_dynamic_member_must_come_again_with_the_id_that_it_was_given() {
    let mut fixture = Fixture::new();
    let refused = fixture.join("", None).unwrap_err();
    assert_eq!(refused.error, ErrorCode::MemberIdRequired);
    assert!(fixture.join(&refused.member_id, None).is_ok());
    let unknown = fixture.join("stranger", None).unwrap_err();
    assert_eq!(unknown.error, ErrorCode::UnknownMemberId);
}

#[test]
fn a_new_member_makes_the_others_join_again() {
    let (mut fixture, member) = Fixture::stable();
    assert_eq!(fixture.beat(&member), ErrorCode::None);
    fixture.joined("", Some("i2"));
    assert_eq!(fixture.beat(&member), ErrorCode::RebalanceInProgress);
    assert_eq!(fixture.joined(&member, Some("i1")), member);
    assert_eq!(fixture.group.generation, 2);
}

#[test]
fn an_instance_that_is_back_takes_its_own_place_at_once() {
    let (mut fixture, former) = Fixture::stable();
    let (member, answers) = fixture.join("", Some("i1")).unwrap();
    assert_ne!(member, former);
    assert!(matches!(&answers[..], [Answer::Join(it)] if it.generation_id == 2), "{answers:?}");
    let fenced = HeartbeatRequest {
        member_id: former.clone(),
        generation_id: 1,
        group_instance_id: Some("i1".to_owned()),
        ..HeartbeatRequest::default()
    };
    assert_eq!(fixture.group.heartbeat(&fenced, fixture.now), ErrorCode::FencedInstanceId);
    assert_eq!(fixture.group.may_commit(1, &former, fixture.now), ErrorCode::UnknownMemberId);
}

#[test]
fn a_silent_member_is_given_up_and_its_share_goes_on() {
    let (mut fixture, member) = Fixture::stable();
    let other = fixture.joined("", Some("i2"));
    fixture.joined(&member, Some("i1"));
    fixture.tick(SECOND);
    let leader = fixture.group.leader.clone();
    fixture.sync(&other).unwrap();
    fixture.sync(&leader).unwrap();
    fixture.sync(&member).unwrap();
    for _ in 0..7 {
        fixture.tick(SECOND);
        fixture.beat(&other);
    }
    assert_eq!(fixture.beat(&member), ErrorCode::UnknownMemberId);
    assert_eq!(fixture.beat(&other), ErrorCode::RebalanceInProgress);
    let (_, answers) = fixture.join(&other, Some("i2")).unwrap();
    assert!(matches!(&answers[..], [Answer::Join(it)] if it.generation_id == 3), "{answers:?}");
}

#[test]
fn who_does_not_come_back_in_time_is_left_behind() {
    let (mut fixture, member) = Fixture::stable();
    fixture.joined("", Some("i2"));
    for _ in 0..11 {
        fixture.beat(&member);
        fixture.tick(SECOND);
    }
    assert_eq!(fixture.group.generation, 2);
    assert_eq!(fixture.beat(&member), ErrorCode::UnknownMemberId);
}

#[test]
fn a_commit_of_a_former_generation_is_refused() {
    let (mut fixture, member) = Fixture::stable();
    assert_eq!(fixture.group.may_commit(1, &member, fixture.now), ErrorCode::None);
    fixture.joined("", Some("i2"));
    assert_eq!(fixture.group.may_commit(1, &member, fixture.now), ErrorCode::None);
    fixture.joined(&member, Some("i1"));
    assert_eq!(fixture.group.may_commit(1, &member, fixture.now), ErrorCode::IllegalGeneration);
}

#[test]
fn the_last_member_that_leaves_leaves_an_empty_group() {
    let (mut fixture, member) = Fixture::stable();
    assert_eq!(fixture.group.leave(&member, fixture.now), Ok(Vec::new()));
    assert!(fixture.group.is_empty());
    assert_eq!(fixture.group.leave(&member, fixture.now), Err(ErrorCode::UnknownMemberId));
}

#[test]
fn who_has_a_name_leaves_by_it_and_nobody_in_place_of_another() {
    let (mut fixture, member) = Fixture::stable();
    let (name, other) = ("i1".to_owned(), "i2".to_owned());
    let group = &mut fixture.group;
    assert_eq!(group.leaving("", Some(&name)), Ok(member.clone()));
    assert_eq!(group.leaving(&member, Some(&name)), Ok(member.clone()));
    assert_eq!(group.leaving("m0", Some(&name)), Err(ErrorCode::FencedInstanceId));
    assert_eq!(group.leaving("", Some(&other)), Err(ErrorCode::UnknownMemberId));
    assert_eq!(group.leave(&member, fixture.now), Ok(Vec::new()));
    assert_eq!(group.leaving("", Some(&name)), Err(ErrorCode::UnknownMemberId));
}

#[test]
fn an_id_that_was_given_out_keeps_a_new_group_until_it_can_come_back() {
    let mut fixture = Fixture::new();
    let refused = fixture.join("", None).unwrap_err();
    assert_eq!(refused.error, ErrorCode::MemberIdRequired);
    fixture.tick(SECOND * 30);
    assert!(!fixture.group.is_forgettable(fixture.now));
    assert_eq!(fixture.joined(&refused.member_id, None), refused.member_id);
    // Names that nobody comes back for do not stay.
    let mut fixture = Fixture::new();
    fixture.join("", None).unwrap_err();
    fixture.tick(SECOND * 61);
    assert!(fixture.group.is_forgettable(fixture.now));
}

#[test]
fn one_that_joins_again_and_again_does_not_hold_up_the_others() {
    let (mut fixture, stuck) = Fixture::stable();
    fixture.joined("", Some("i2"));
    let mut told = 0;
    for _ in 0..12 {
        told += fixture.tick(SECOND).len();
        // It beats, and never joins; another one crashes and is back all the time.
        if fixture.beat(&stuck) == ErrorCode::RebalanceInProgress {
            fixture.joined("", Some("i2"));
        }
    }
    assert!(told > 0, "nobody was told a generation within ten seconds");
}

#[test]
fn one_that_left_while_it_waited_is_given_up_for_its_silence() {
    let (mut fixture, stays) = Fixture::stable();
    let gone = fixture.joined("", Some("i2"));
    fixture.group.asks_no_more(&gone, fixture.now);
    let mut shares = Vec::new();
    for _ in 0..8 {
        if fixture.beat(&stays) == ErrorCode::RebalanceInProgress {
            fixture.joined(&stays, Some("i1"));
        }
        shares.extend(fixture.tick(SECOND));
    }
    let Some(Answer::Join(share)) = shares.first() else { panic!("{shares:?}") };
    assert_eq!((share.members.len(), fixture.group.len()), (1, 1), "it is no leader, nor a member");
}
