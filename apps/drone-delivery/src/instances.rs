//! The instances of a system: which processes its roles run in, and where each listens.

use std::{collections::BTreeMap, io};

use crate::{
    editions::Edition,
    identities,
    roles::Role,
    settings::{MeshPlacement, Settings, Tls},
    sidecars::{self, Door, Sidecar},
};

/// Ports above the base that a system gives out by itself: 443 is the last.
const FIXED_PORTS: u16 = 444;

/// One process of one role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Instance {
    /// What it does, in which version.
    pub(crate) edition: Edition,
    /// Its number among the replicas of its edition, from 1.
    pub(crate) number: u32,
    /// Its name among all processes, such as `account@v2-1`; also that of its log.
    pub(crate) name: String,
    /// Where it listens; `None` where it takes a free port and announces which.
    pub(crate) port: Option<u16>,
    /// The proxy that stands beside it.
    pub(crate) sidecar: Option<Sidecar>,
    /// Who its door proves to be; nobody where that is not asked.
    pub(crate) identity: Option<String>,
}

/// The instances of a system with these settings, in the order in which `ps` lists them. `draw`
/// gives a free port, each once.
///
/// The first instance of a role has its well-known port. A further one takes what is free when it
/// starts; only where somebody must know the port before, a proxy or a foreign program, is it drawn
/// here.
pub(crate) fn instances(
    settings: &Settings,
    draw: &mut impl FnMut() -> io::Result<u16>,
) -> io::Result<Vec<Instance>> {
    let mut free = || draw_outside(settings.port_base, draw);
    let mut instances = Vec::new();
    for edition in settings.editions() {
        for number in 1..=settings.replicas(&edition) {
            let sidecar = sidecar(settings, &edition, number, &mut free)?;
            // Where doors are strict the well-known port is that of the door, not of what is behind it.
            let is_hidden = settings.tls == Tls::Strict && sidecar.is_some();
            let port = match fixed_port(settings, &edition, number).filter(|_| !is_hidden) {
                Some(port) => Some(port),
                None if sidecar.is_some() || settings.foreign(&edition).is_some() => Some(free()?),
                None => None,
            };
            let name = edition.instance(edition.role.name(), number);
            // The edge and the page are for people, who have no identity to show.
            let shows = settings.tls == Tls::Strict && edition.role.is_service();
            let identity = shows.then(|| identities::id(edition.role.name()).to_string());
            let edition = edition.clone();
            instances.push(Instance { edition, number, name, port, sidecar, identity });
        }
    }
    Ok(instances)
}

/// The processes that show who they are, and as which service: each to the log, and where a proxy stands
/// beside it, that to whoever calls and is called.
pub(crate) fn bearers(instances: &[Instance]) -> BTreeMap<String, &'static str> {
    let names = |it: &Instance| {
        let proxy = it.sidecar.as_ref().map(|it| it.name.clone());
        let role = it.edition.role.name();
        [Some(it.name.clone()), proxy].into_iter().flatten().map(move |it| (it, role))
    };
    instances.iter().flat_map(names).collect()
}

/// A free port that will not be wanted as one of the fixed ones.
fn draw_outside(base: u16, draw: &mut impl FnMut() -> io::Result<u16>) -> io::Result<u16> {
    let fixed = base..=base.saturating_add(FIXED_PORTS);
    loop {
        let port = draw()?;
        if !fixed.contains(&port) {
            return Ok(port);
        }
    }
}

fn fixed_port(settings: &Settings, edition: &Edition, number: u32) -> Option<u16> {
    if number > 1 {
        return None;
    }
    let chosen = settings.foreign(edition).and_then(|it| it.port);
    let well_known = edition.is_first().then(|| edition.role.address(settings).port());
    chosen.or(well_known)
}

fn sidecar(
    settings: &Settings,
    edition: &Edition,
    number: u32,
    free: &mut impl FnMut() -> io::Result<u16>,
) -> io::Result<Option<Sidecar>> {
    if settings.mesh != MeshPlacement::Sidecar || !edition.role.is_service() {
        return Ok(None);
    }
    let (outbound, inbound) = if edition.is_first() && number == 1 {
        sidecars::well_known(edition.role, settings)
    } else {
        (free()?, free()?)
    };
    let mut doors = Vec::new();
    if settings.foreign(edition).is_some() {
        for role in Role::ALL.into_iter().filter(|it| it.is_service()) {
            doors.push(Door { service: role.name(), port: free()? });
        }
    }
    let name = edition.instance(&sidecars::role_name(edition.role), number);
    Ok(Some(Sidecar { name, outbound, inbound, doors }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::ForeignService;

    fn settings() -> Settings {
        Settings {
            port_base: 9_000,
            replicas: BTreeMap::from([("account".to_owned(), 2), ("account@v2".to_owned(), 2)]),
            programs: BTreeMap::from([("account@v2".to_owned(), "/other".into())]),
            ..Settings::default()
        }
    }

    /// Name and ports (program, outbound, inbound) of each instance of a role. Free ports are 9,443,
    /// which is one of the fixed, and then 40,000 and on.
    fn ports(settings: &Settings, role: Role) -> Vec<(String, [Option<u16>; 3])> {
        let mut next = [9_443].into_iter().chain(40_000..);
        let mut draw = || Ok(next.next().unwrap());
        let all = instances(settings, &mut draw).unwrap();
        let of_role = all.into_iter().filter(|it| it.edition.role == role);
        let row = |it: Instance| {
            let (out, inside) = it.sidecar.map(|it| (it.outbound, it.inbound)).unzip();
            (it.name, [it.port, out, inside])
        };
        of_role.map(row).collect()
    }

    #[track_caller]
    fn check(settings: &Settings, role: Role, expected: &[(&str, [Option<u16>; 3])]) {
        let expected: Vec<_> =
            expected.iter().map(|(name, ports)| ((*name).to_owned(), *ports)).collect();
        assert_eq!(ports(settings, role), expected);
    }

    #[test]
    fn the_first_instance_has_the_well_known_port_and_the_others_announce_theirs() {
        let expected = [
            ("account-1", [Some(9_104), None, None]),
            ("account-2", [None; 3]),
            ("account@v2-1", [None; 3]),
            ("account@v2-2", [None; 3]),
        ];
        check(&settings(), Role::Account, &expected);
        check(&settings(), Role::Broker, &[("broker-1", [Some(9_092), None, None])]);
    }

    #[test]
    fn an_instance_beside_a_proxy_has_ports_that_the_proxy_can_be_told() {
        let settings = Settings { mesh: MeshPlacement::Sidecar, tls: Tls::Off, ..settings() };
        let expected = [
            ("account-1", [Some(9_104), Some(9_204), Some(9_304)]),
            ("account-2", [Some(40_002), Some(40_000), Some(40_001)]),
            ("account@v2-1", [Some(40_005), Some(40_003), Some(40_004)]),
            ("account@v2-2", [Some(40_008), Some(40_006), Some(40_007)]),
        ];
        check(&settings, Role::Account, &expected);
        check(&settings, Role::Gateway, &[("gateway-1", [Some(9_080), None, None])]);
    }

    #[test]
    fn where_doors_are_strict_the_well_known_port_is_the_door_and_the_door_proves_who_it_is() {
        let settings = Settings { mesh: MeshPlacement::Sidecar, tls: Tls::Strict, ..settings() };
        // Behind the doors of the three services before it are three free ports.
        let expected = [
            ("account-1", [Some(40_003), Some(9_204), Some(9_104)]),
            ("account-2", [Some(40_006), Some(40_004), Some(40_005)]),
            ("account@v2-1", [Some(40_009), Some(40_007), Some(40_008)]),
            ("account@v2-2", [Some(40_012), Some(40_010), Some(40_011)]),
        ];
        check(&settings, Role::Account, &expected);
        check(&settings, Role::Gateway, &[("gateway-1", [Some(9_080), None, None])]);
        let mut next = 40_000..;
        let all = instances(&settings, &mut || Ok(next.next().unwrap())).unwrap();
        let of = |name: &str| all.iter().find(|it| it.name == name).unwrap();
        let account = "spiffe://drone-delivery/ns/default/svc/account";
        assert_eq!(of("account@v2-1").identity.as_deref(), Some(account));
        assert_eq!(of("gateway-1").identity, None, "people have nothing to show at the edge");
        let bearers = bearers(&all);
        assert_eq!(bearers.get("account-proxy-2"), Some(&"account"));
        assert_eq!(bearers.get("gateway-1"), Some(&"gateway"));
        // To the log each process shows who it is, whatever stands beside it.
        assert_eq!(bearers.get("account-2"), Some(&"account"));
        assert_eq!(bearers.get("broker-1"), Some(&"broker"));
    }

    #[test]
    fn a_foreign_program_has_a_port_that_it_can_be_told() {
        let foreign =
            |port| ForeignService { command: vec!["program".to_owned()], port, health: None };
        let services = BTreeMap::from([
            ("package".to_owned(), foreign(None)),
            ("package@v2".to_owned(), foreign(None)),
            ("drone".to_owned(), foreign(Some(5_000))),
        ]);
        let replicas = BTreeMap::from([("package".to_owned(), 2)]);
        let settings = Settings { services, replicas, ..settings() };
        let expected = [
            ("package-1", [Some(9_106), None, None]),
            ("package-2", [Some(40_000), None, None]),
            ("package@v2-1", [Some(40_001), None, None]),
        ];
        check(&settings, Role::Package, &expected);
        check(&settings, Role::Drone, &[("drone-1", [Some(5_000), None, None])]);
    }
}
