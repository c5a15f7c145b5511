//! Who runs where: instances that said so, each for as long as its lease.
//!
//! A lease that is not renewed ends by itself; whoever drains withdraws at once. A registry that has
//! just started knows nothing, and nothing is not the same as nobody: until its grace is over it is
//! not [settled](Registry::is_settled), and who hears of it takes what is new and drops nothing. In the
//! grace each instance that runs has connected and renewed several times; who died meanwhile is avoided by
//! his callers' breakers.
//!
//! A name belongs to who has it. Where he is heard no more, because the connection that he spoke on has
//! ended, a newer start of the same instance under the same identity takes his place at once; an older one
//! and any other wait for the end of the lease. So of two that live under one name the first keeps it, and
//! where his connection breaks the newer one gets it for good: it does not go to and fro.
//!
//! Time comes in; nothing waits here.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use base::Monotonic;
use identity::SpiffeId;
use mesh_policy::destination::{Endpoint, EndpointSet};

use crate::instance::{Registration, RegistrationError};

/// Instances that may be registered at once.
pub const INSTANCES_MAX: usize = 5_000;
/// Names of services, and of their versions, that are remembered though nothing runs under them.
const NAMES_MAX: usize = 2_000;

/// Instances of one service: whoever is that service cannot fill the registry.
const INSTANCES_OF_ONE_MAX: usize = 1_000;
/// Versions of one service that are remembered; past it those are forgotten under which nothing runs.
const VERSIONS_OF_ONE_MAX: usize = 32;

/// Bounds of a registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RegistryConfig {
    /// An instance that did not renew for so long is gone.
    pub lease: Duration,
    /// So long after the start nobody is taken for gone.
    pub grace: Duration,
}

impl Default for RegistryConfig {
    fn default() -> Self {
        Self { lease: Duration::from_secs(3), grace: Duration::from_secs(10) }
    }
}

/// One instance that is registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registered {
    /// What it says.
    pub told: Registration,
    /// Who it proved to be.
    pub identity: Option<SpiffeId>,
    /// When it is gone unless it renews.
    pub expires: Monotonic,
    /// The connection on which it was heard last; none once that has ended.
    pub heard_on: Option<Connection>,
}

/// The number of a connection; none has that of another.
pub(crate) type Connection = u64;

/// What an announcement did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Others have to hear of it.
    Changed,
    /// It said what it had said before.
    Renewed,
}

/// Why an instance is not registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RegisterError {
    /// It says what cannot be believed.
    #[error(transparent)]
    Malformed(#[from] RegistrationError),
    /// Its certificate names another service.
    #[error("an instance registers as the service that its certificate names, and as no other")]
    WrongService,
    /// Another instance of that name lives, at another address or under another identity, or did until
    /// its lease ends.
    #[error("an instance of this name is registered by somebody else")]
    Taken,
    /// As many are registered as may be.
    #[error("{INSTANCES_MAX} instances or {NAMES_MAX} names are registered, as many as may be")]
    Full,
    /// As many of this service are registered as may be.
    #[error(
        "{INSTANCES_OF_ONE_MAX} instances or {VERSIONS_OF_ONE_MAX} versions of one service are registered, as many as may be"
    )]
    Crowded,
}

impl RegisterError {
    /// The word in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed",
            Self::WrongService => "wrong_service",
            Self::Taken => "taken",
            Self::Full => "full",
            Self::Crowded => "crowded",
        }
    }
}

type Key = (String, String);

/// The instances that are registered.
#[derive(Debug)]
pub struct Registry {
    config: RegistryConfig,
    settles: Monotonic,
    instances: BTreeMap<Key, Registered>,
    /// Every set that ever was, with the service that it belongs to: one of which nothing runs is known
    /// all the same.
    names: BTreeMap<String, String>,
}

impl Registry {
    /// Nobody yet.
    #[must_use]
    pub fn new(config: RegistryConfig, now: Monotonic) -> Self {
        let settles = now + config.grace;
        Self { config, settles, instances: BTreeMap::new(), names: BTreeMap::new() }
    }

    /// How long an announcement holds.
    #[must_use]
    pub const fn lease(&self) -> Duration {
        self.config.lease
    }

    /// Whether who is not here is gone.
    #[must_use]
    pub fn is_settled(&self, now: Monotonic) -> bool {
        now >= self.settles
    }

    /// Registers an instance, or renews its lease. `identity` is what it proved, nothing where nobody
    /// proves anything; `on` is the connection that it speaks on.
    ///
    /// # Errors
    /// Why it is not registered. What was known before stays as it was.
    pub fn register(
        &mut self,
        told: Registration,
        identity: Option<SpiffeId>,
        on: Connection,
        now: Monotonic,
    ) -> Result<Change, RegisterError> {
        told.check()?;
        if identity.as_ref().is_some_and(|it| it.service() != told.service) {
            return Err(RegisterError::WrongService);
        }
        let key = (told.service.clone(), told.instance.clone());
        let before = self.instances.get(&key).filter(|it| it.expires > now);
        if before.is_some_and(|it| !it.gives_way_to(&told, identity.as_ref())) {
            return Err(RegisterError::Taken);
        }
        let is_same = before.is_some_and(|it| it.told == told);
        if !is_same {
            self.make_room(&key, &told, now)?;
        }
        let expires = now + self.config.lease;
        self.instances.insert(key, Registered { told, identity, expires, heard_on: Some(on) });
        Ok(if is_same { Change::Renewed } else { Change::Changed })
    }

    /// Room for one that is new or says something new.
    fn make_room(
        &mut self,
        key: &Key,
        told: &Registration,
        now: Monotonic,
    ) -> Result<(), RegisterError> {
        if self.instances.len() >= INSTANCES_MAX {
            self.expire(now);
        }
        let is_new = !self.instances.contains_key(key);
        let version = version_name(told);
        self.make_room_of_one(told, version.as_ref(), is_new, now)?;
        let names = std::iter::once(&told.service).chain(&version);
        let further = names.filter(|it| !self.names.contains_key(*it)).count();
        if (is_new && self.instances.len() >= INSTANCES_MAX)
            || self.names.len() + further > NAMES_MAX
        {
            return Err(RegisterError::Full);
        }
        // Two processes cannot listen at one address: who was there before under another name is gone.
        self.instances.retain(|other, it| {
            other == key || other.0 != key.0 || it.told.address != told.address
        });
        // A service has its own name, whoever had it before for one of his versions: nobody comes to the
        // calls of another by what he calls his version.
        self.names.insert(told.service.clone(), told.service.clone());
        if let Some(name) = version {
            self.names.entry(name).or_insert_with(|| told.service.clone());
        }
        Ok(())
    }

    /// The same among those of its own service.
    fn make_room_of_one(
        &mut self,
        told: &Registration,
        version: Option<&String>,
        is_new: bool,
        now: Monotonic,
    ) -> Result<(), RegisterError> {
        let service = &told.service;
        let count = |it: &Self| it.instances.keys().filter(|it| it.0 == *service).count();
        if is_new && count(self) >= INSTANCES_OF_ONE_MAX {
            self.expire(now);
            if count(self) >= INSTANCES_OF_ONE_MAX {
                return Err(RegisterError::Crowded);
            }
        }
        let versions = |it: &Self| {
            it.names.iter().filter(|(name, owner)| *owner == service && *name != service).count()
        };
        if version.is_some_and(|it| !self.names.contains_key(it))
            && versions(self) >= VERSIONS_OF_ONE_MAX
        {
            let running: BTreeSet<String> =
                self.instances(now).filter_map(|it| version_name(&it.told)).collect();
            self.names.retain(|name, owner| {
                owner != service || name == service || running.contains(name)
            });
            if versions(self) >= VERSIONS_OF_ONE_MAX {
                return Err(RegisterError::Crowded);
            }
        }
        Ok(())
    }

    /// Takes an instance away that is about to end; answers whether it was there. Nobody takes away
    /// what somebody else registered, or a newer start since.
    pub fn withdraw(
        &mut self,
        service: &str,
        instance: &str,
        identity: Option<&SpiffeId>,
        on: Connection,
    ) -> bool {
        let key = (service.to_owned(), instance.to_owned());
        let is_theirs = self
            .instances
            .get(&key)
            .is_some_and(|it| it.identity.as_ref() == identity && it.heard_on == Some(on));
        is_theirs && self.instances.remove(&key).is_some()
    }

    /// Nobody is heard on this connection any more. Who was may be there all the same: his lease lasts.
    pub fn hear_no_more(&mut self, on: Connection) {
        for it in self.instances.values_mut().filter(|it| it.heard_on == Some(on)) {
            it.heard_on = None;
        }
    }

    /// Takes away those whose lease is over; answers who that was.
    pub fn expire(&mut self, now: Monotonic) -> Vec<Registered> {
        self.instances.extract_if(.., |_, it| it.expires <= now).map(|(_, it)| it).collect()
    }

    /// When something is over next: a lease, or the grace.
    #[must_use]
    pub fn next_end(&self, now: Monotonic) -> Option<Monotonic> {
        let settles = (!self.is_settled(now)).then_some(self.settles);
        self.instances.values().map(|it| it.expires).chain(settles).min()
    }

    /// Everybody whose lease lasts, by service and name.
    pub fn instances(&self, now: Monotonic) -> impl Iterator<Item = &Registered> {
        self.instances.values().filter(move |it| it.expires > now)
    }

    /// Where each service is found, and beside it each of its versions, `account-v2`. A name that was
    /// ever known stays, with nobody under it.
    #[must_use]
    pub fn endpoints(&self, now: Monotonic) -> BTreeMap<String, EndpointSet> {
        let mut sets: BTreeMap<String, EndpointSet> =
            self.names.keys().map(|it| (it.clone(), EndpointSet::default())).collect();
        for instance in self.instances(now) {
            let own = &instance.told.service;
            let version = version_name(&instance.told);
            for name in version.into_iter().chain([own.clone()]) {
                if self.names.get(&name) != Some(own) {
                    continue;
                }
                let set = sets.entry(name).or_default();
                set.protocol = instance.told.protocol.into();
                if instance.told.ready {
                    set.endpoints.push(endpoint(instance));
                }
            }
        }
        sets
    }
}

impl Registered {
    /// Whether one that says this under this name may stand in its place: it is the same one, or a newer
    /// start of it while it is not heard itself.
    fn gives_way_to(&self, told: &Registration, identity: Option<&SpiffeId>) -> bool {
        let is_newer = told.incarnation > self.told.incarnation;
        let same_address = self.told.address == told.address;
        self.identity.as_ref() == identity
            && (same_address || (is_newer && self.heard_on.is_none()))
    }
}

fn version_name(told: &Registration) -> Option<String> {
    told.version.as_ref().map(|it| format!("{}-{it}", told.service))
}

fn endpoint(instance: &Registered) -> Endpoint {
    Endpoint {
        address: instance.told.address,
        instance: Some(instance.told.instance.clone()),
        version: instance.told.version.clone(),
        weight: instance.told.capacity,
        identity: instance.identity.as_ref().map(ToString::to_string),
    }
}

#[cfg(test)]
mod tests;
