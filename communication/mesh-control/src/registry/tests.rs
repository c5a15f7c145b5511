use base::Random;

use super::*;

const LEASE: u64 = 3_000;
const GRACE: u64 = 5_000;
/// Where nobody goes away.
const HERE: Connection = 0;
const CONFIG: RegistryConfig =
    RegistryConfig { lease: Duration::from_millis(LEASE), grace: Duration::from_millis(GRACE) };

fn at(millis: u64) -> Monotonic {
    Monotonic::from_millis(millis)
}

fn registry() -> Registry {
    Registry::new(CONFIG, at(0))
}

fn cart(number: u16) -> Registration {
    Registration {
        service: "cart".to_owned(),
        instance: format!("cart-{number}"),
        version: None,
        zone: None,
        capacity: 1,
        address: ([127, 0, 0, 1], 7_000 + number).into(),
        incarnation: 0,
        protocol: crate::instance::Spoken::Http,
        ready: true,
    }
}

fn id(service: &str) -> Option<SpiffeId> {
    Some(SpiffeId::new("mesh.test", "shop", service).unwrap())
}

fn ports(registry: &Registry, now: u64) -> Vec<u16> {
    let sets = registry.endpoints(at(now));
    sets.get("cart").map_or_else(Vec::new, |set| {
        set.endpoints.iter().map(|it| it.address.port() - 7_000).collect()
    })
}

#[test]
fn a_lease_that_is_not_renewed_ends_and_the_service_stays_known() {
    let mut registry = registry();
    assert_eq!(registry.register(cart(1), None, HERE, at(0)), Ok(Change::Changed));
    assert_eq!(registry.register(cart(1), None, HERE, at(1_000)), Ok(Change::Renewed));
    assert_eq!(ports(&registry, LEASE + 999), [1]);
    assert_eq!(registry.next_end(at(LEASE)), Some(at(LEASE + 1_000)));
    assert_eq!(ports(&registry, LEASE + 1_000), [0_u16; 0]);
    assert_eq!(registry.expire(at(LEASE + 1_000)).len(), 1);
    assert!(registry.endpoints(at(LEASE + 1_000)).contains_key("cart"));
}

#[test]
fn who_is_not_ready_is_known_and_called_by_nobody() {
    let mut registry = registry();
    registry.register(Registration { ready: false, ..cart(1) }, None, HERE, at(0)).unwrap();
    assert_eq!((ports(&registry, 0).len(), registry.instances(at(0)).count()), (0, 1));
    assert_eq!(registry.register(cart(1), None, HERE, at(1)), Ok(Change::Changed));
    assert_eq!(ports(&registry, 1), [1]);
}

#[test]
fn a_certificate_of_another_service_registers_and_withdraws_nothing() {
    let mut registry = registry();
    let refused = registry.register(cart(1), id("bank"), HERE, at(0));
    assert_eq!(refused, Err(RegisterError::WrongService));
    assert!(registry.endpoints(at(0)).is_empty(), "nothing of it is kept");
    registry.register(cart(1), id("cart"), HERE, at(0)).unwrap();
    assert!(!registry.withdraw("cart", "cart-1", id("bank").as_ref(), HERE));
    assert!(!registry.withdraw("cart", "cart-1", None, HERE));
    assert_eq!(ports(&registry, 0), [1]);
    assert!(registry.withdraw("cart", "cart-1", id("cart").as_ref(), HERE));
    assert!(ports(&registry, 0).is_empty());
}

#[test]
fn a_living_name_is_taken_and_a_new_name_at_an_address_takes_the_place_of_the_old_one() {
    let mut registry = registry();
    registry.register(cart(1), None, HERE, at(0)).unwrap();
    let elsewhere = Registration { instance: "cart-1".to_owned(), ..cart(2) };
    assert_eq!(registry.register(elsewhere.clone(), None, HERE, at(1)), Err(RegisterError::Taken));
    assert_eq!(registry.register(elsewhere, None, HERE, at(LEASE)), Ok(Change::Changed));
    let again = Registration { instance: "cart-9".to_owned(), ..cart(2) };
    assert_eq!(registry.register(again, None, HERE, at(LEASE)), Ok(Change::Changed));
    assert_eq!(ports(&registry, LEASE), [2], "one address, one endpoint");
}

/// One start of `cart-1`, at a port of its own.
fn start(number: u16) -> Registration {
    let incarnation = u64::from(number);
    Registration { instance: "cart-1".to_owned(), incarnation, ..cart(number) }
}

#[test]
fn a_newer_start_takes_the_place_of_one_that_is_heard_no_more_and_of_no_other() {
    let mut registry = registry();
    let said = |registry: &mut Registry, number: u16, identity: &str| {
        registry.register(start(number), id(identity), number.into(), at(1))
    };
    assert_eq!(said(&mut registry, 5, "cart"), Ok(Change::Changed));
    assert_eq!(said(&mut registry, 6, "cart"), Err(RegisterError::Taken), "the first one lives");
    registry.hear_no_more(6);
    assert_eq!(said(&mut registry, 6, "cart"), Err(RegisterError::Taken), "another one ended");
    registry.hear_no_more(5);
    assert_eq!(ports(&registry, 1), [5], "its lease lasts");
    assert_eq!(said(&mut registry, 4, "cart"), Err(RegisterError::Taken), "an older start");
    let unproven = registry.register(start(6), None, 6, at(1));
    assert_eq!(unproven, Err(RegisterError::Taken), "it proves nothing");
    assert_eq!(said(&mut registry, 6, "cart"), Ok(Change::Changed));
    assert_eq!(ports(&registry, 1), [6]);
    // The first one was alive, and only its connection had broken: it comes too late.
    assert_eq!(said(&mut registry, 5, "cart"), Err(RegisterError::Taken));
    assert!(!registry.withdraw("cart", "cart-1", id("cart").as_ref(), 5), "nor as it ends");
    registry.hear_no_more(6);
    assert_eq!(said(&mut registry, 5, "cart"), Err(RegisterError::Taken), "nor to and fro");
    assert_eq!(ports(&registry, 1), [6]);
}

#[test]
fn who_says_no_start_waits_for_the_end_of_the_lease() {
    let mut registry = registry();
    registry.register(cart(1), None, 1, at(0)).unwrap();
    registry.hear_no_more(1);
    let elsewhere = Registration { instance: "cart-1".to_owned(), ..cart(2) };
    assert_eq!(registry.register(elsewhere, None, 2, at(1)), Err(RegisterError::Taken));
}

#[test]
fn a_version_has_a_list_of_its_own_beside_that_of_the_service() {
    let mut registry = registry();
    registry.register(cart(1), None, HERE, at(0)).unwrap();
    let second = Registration { version: Some("v2".to_owned()), capacity: 4, ..cart(2) };
    registry.register(second, id("cart"), HERE, at(0)).unwrap();
    let sets = registry.endpoints(at(0));
    assert_eq!(sets.keys().collect::<Vec<_>>(), ["cart", "cart-v2"]);
    let found = &sets["cart-v2"].endpoints[0];
    assert_eq!((found.weight, sets["cart"].endpoints.len()), (4, 2));
    assert_eq!(found.identity.as_deref(), Some("spiffe://mesh.test/ns/shop/svc/cart"));
}

#[test]
fn what_a_service_calls_its_version_brings_it_no_calls_of_another_service() {
    let mut registry = registry();
    let thief = Registration { version: Some("bank".to_owned()), ..cart(1) };
    registry.register(thief.clone(), id("cart"), HERE, at(0)).unwrap();
    let bank = Registration { service: "cart-bank".to_owned(), ..cart(2) };
    registry.register(bank, id("cart-bank"), HERE, at(0)).unwrap();
    registry.register(thief, id("cart"), HERE, at(1)).unwrap();
    let found = &registry.endpoints(at(1))["cart-bank"].endpoints;
    assert_eq!(found.iter().map(|it| it.address.port()).collect::<Vec<_>>(), [7_002]);
}

#[test]
fn past_the_bound_nobody_new_is_taken_and_who_is_here_renews() {
    let mut registry = registry();
    let many = u16::try_from(INSTANCES_MAX).unwrap();
    let one = |number: u16| {
        let service = format!("cart-of-{}", usize::from(number) / INSTANCES_OF_ONE_MAX);
        Registration { service, ..cart(number) }
    };
    for number in 0..many {
        registry.register(one(number), None, HERE, at(0)).unwrap();
    }
    assert_eq!(registry.register(one(many), None, HERE, at(1)), Err(RegisterError::Full));
    assert_eq!(registry.register(one(0), None, HERE, at(1)), Ok(Change::Renewed));
    let further = Registration { instance: "further".to_owned(), ..one(0) };
    assert_eq!(registry.register(further, None, HERE, at(1)), Err(RegisterError::Crowded));
    assert_eq!(
        registry.register(one(many), None, HERE, at(LEASE)),
        Ok(Change::Changed),
        "room again"
    );
}

#[test]
fn a_service_has_so_many_versions_and_forgets_those_of_which_nothing_runs() {
    let mut registry = registry();
    let of = |version: usize| {
        let number = u16::try_from(version).unwrap();
        Registration { version: Some(format!("v{version}")), ..cart(number) }
    };
    for version in 0..VERSIONS_OF_ONE_MAX {
        registry.register(of(version), None, HERE, at(0)).unwrap();
    }
    let next = VERSIONS_OF_ONE_MAX;
    assert_eq!(registry.register(of(next), None, HERE, at(1)), Err(RegisterError::Crowded));
    registry.register(of(0), None, HERE, at(LEASE - 1)).unwrap();
    registry.register(of(next), None, HERE, at(LEASE)).unwrap();
    let known: Vec<String> = registry.endpoints(at(LEASE)).into_keys().collect();
    assert_eq!(known, ["cart", "cart-v0", &format!("cart-v{next}")]);
}

/// What the registry is held to, written the other way round: a list of who said what when.
#[derive(Default)]
struct Model(BTreeMap<u16, u64>);

impl Model {
    fn living(&self, now: u64) -> Vec<u16> {
        let lives = self.0.iter().filter(|(_, renewed)| now < **renewed + LEASE);
        lives.map(|(number, _)| *number).collect()
    }
}

/// A thousand histories of instances that come, renew, stop renewing and withdraw, and of a registry
/// that is restarted in between.
#[test]
fn no_lease_outlives_its_time_and_none_that_is_renewed_is_lost() {
    for seed in 0..1_000 {
        let mut random = Random::with_seed(seed);
        let (mut registry, mut model, mut now, mut started) = (registry(), Model::default(), 0, 0);
        for _ in 0..200 {
            now += random.below(700);
            let number = u16::try_from(random.below(8)).unwrap();
            match random.below(20) {
                0 => {
                    let was = registry.withdraw("cart", &format!("cart-{number}"), None, HERE);
                    let is_living = model.living(now).contains(&number);
                    assert!(was || !is_living, "seed {seed}");
                    model.0.remove(&number);
                }
                1 => drop(registry.expire(at(now))),
                2 => {
                    (registry, model) = (Registry::new(CONFIG, at(now)), Model::default());
                    started = now;
                }
                _ => {
                    registry.register(cart(number), None, HERE, at(now)).unwrap();
                    model.0.insert(number, now);
                }
            }
            assert_eq!(ports(&registry, now), model.living(now), "seed {seed}, at {now}");
            assert_eq!(registry.is_settled(at(now)), now >= started + GRACE, "seed {seed}");
            let end = registry.next_end(at(now));
            let over = |it: Monotonic| it.as_millis() <= now;
            assert!(registry.expire(at(now)).is_empty() || end.is_some_and(over), "seed {seed}");
        }
    }
}
