//! All routes of one parent, ready to be asked.
//!
//! The Gateway API defines one order over all rules that match a request: the host's specificity
//! first, then path, method, headers and query, then age, name and place. Nothing but the host and
//! the path in that order depends on the request, so the rest is sorted once, when the table is
//! made: each hostname has a tree of paths, each node of it a list in order, and the first of them
//! that holds is the answer. A lookup costs about the same with ten rules and with a thousand; only
//! rules alike in host and path are asked one after the other. It allocates only where a regular
//! expression or a version looks at an escaped query.
//!
//! Hosts are a matter of precedence, not of separation: "precedence must be given to rules from the
//! HTTPRoute with the largest number of characters in a matching hostname" (HTTPRouteSpec,
//! `hostnames`), and 404 is for "no rules matching a request". So where no rule of `www.bar.com`
//! takes a request, the rules of `*.bar.com` and then those of routes without hosts are asked; a
//! catch-all serves what is left over, which is what its writer wrote. (Proxies built on virtual
//! hosts answer 404 there, see Envoy Gateway's issue 5500; listeners are what the Gateway API gives
//! for separation.)
//!
//! For calls inside, to a service, hostnames are not asked: the service is the host, under whatever
//! name a program calls it. HTTPRoutes and GRPCRoutes are ranked in one order here; the Gateway API
//! would refuse one of the two on the same hostname.
//!
//! A table is as large as the files that it is made of, which their reader bounds.

use super::{
    Candidate, CompileError, Flaw, Found, Parent, RequestView, Route,
    check::check_filters,
    condition::{Condition, Mismatch},
    explain,
    found::EVERYTHING,
    hosts::{HostPattern, HostRank, Hosts, without_root},
};

/// The routes of one parent.
///
/// ```
/// use mesh_policy::route::{Match, Parent, PathMatch, RequestView, Route, RouteKind, Rule, Table};
///
/// struct Get(&'static str);
/// impl RequestView for Get {
///     fn method(&self) -> &str { "GET" }
///     fn host(&self) -> &str { "example.com" }
///     fn path(&self) -> &str { self.0 }
///     fn query(&self) -> Option<&str> { None }
///     fn header(&self, _name: &str) -> Option<&str> { None }
/// }
///
/// let rule = |prefix: &str| {
///     let path = Some(PathMatch::Prefix(prefix.to_owned()));
///     let matches = vec![Match { path, ..Match::default() }];
///     Rule { name: Some(prefix.to_owned()), matches, ..Rule::default() }
/// };
/// let edge = Parent::Gateway { name: "edge".to_owned(), section: None };
/// let route = Route {
///     name: "shop/things".to_owned(),
///     kind: RouteKind::Http,
///     created: None,
///     parents: vec![edge.clone()],
///     hostnames: vec!["*.com".to_owned()],
///     rules: vec![rule("/things"), rule("/things/new")],
/// };
///
/// let table = Table::compile(&[route], &edge)?;
/// let found = table.find(&Get("/things/new/1")).expect("both rules match");
/// assert_eq!(found.rule.name.as_deref(), Some("/things/new"));
/// assert!(table.find(&Get("/thingsandmore")).is_none());
/// # Ok::<(), mesh_policy::route::CompileError>(())
/// ```
#[derive(Debug)]
pub struct Table {
    routes: Vec<Route>,
    /// By precedence, hosts left aside.
    conditions: Vec<Condition>,
    hosts: Hosts,
    are_hosts_asked: bool,
}

impl Table {
    /// Makes the table of the routes that are attached to a parent: those that name the gateway
    /// and no section or this one, or those that name the service. A gateway without a section
    /// stands for all of its listeners at once.
    ///
    /// # Errors
    ///
    /// When an attached route says something that cannot be meant. Others are not looked at.
    pub fn compile(routes: &[Route], parent: &Parent) -> Result<Self, CompileError> {
        let is_attached = |it: &&Route| it.parents.iter().any(|own| includes(own, parent));
        let routes: Vec<Route> = routes.iter().filter(is_attached).cloned().collect();
        let mut ranked = Vec::new();
        let are_hosts_asked = matches!(parent, Parent::Gateway { .. });
        for (place, route) in routes.iter().enumerate() {
            patterns(route, are_hosts_asked)?;
            for condition in conditions(place, route)? {
                ranked.push((condition.rank(route), condition));
            }
        }
        ranked.sort_by(|(one, _), (other, _)| one.cmp(other));
        let conditions: Vec<Condition> = ranked.into_iter().map(|(_, it)| it).collect();
        let mut table = Self { routes, conditions, hosts: Hosts::default(), are_hosts_asked };
        table.index()?;
        Ok(table)
    }

    fn index(&mut self) -> Result<(), CompileError> {
        for (place, condition) in self.conditions.iter().enumerate() {
            let route = &self.routes[condition.route];
            for pattern in patterns(route, self.are_hosts_asked)? {
                self.hosts.entry(pattern).add(place, condition);
            }
        }
        Ok(())
    }

    /// Whether no route is attached: then calls to a service go to that service.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.routes.is_empty()
    }

    /// The attached routes, in the order in which they were given.
    #[must_use]
    pub fn routes(&self) -> &[Route] {
        &self.routes
    }

    /// The rule that takes a request; none is 404 `no_route`, or status 12 to a gRPC client.
    pub fn find(&self, request: &impl RequestView) -> Option<Found<'_>> {
        let (host, path) = (without_root(request.host()), request.path());
        let takes = |place: usize| self.conditions[place].mismatch(request).is_none();
        let place = self.hosts.serving(host).find_map(|paths| paths.first(path, takes))?;
        Some(self.found(&self.conditions[place]))
    }

    fn found(&self, condition: &Condition) -> Found<'_> {
        let route = &self.routes[condition.route];
        let rule = &route.rules[condition.rule];
        let matched = condition.item.map_or(&EVERYTHING, |it| &rule.matches[it]);
        Found { route, route_index: condition.route, rule, rule_index: condition.rule, matched }
    }

    /// Why a request is taken by the rule that takes it, and by no other: every match of every
    /// rule, those that come first in precedence first, those of other hosts last. It asks each of
    /// them, without the trees of [`Table::find`]: for people, not for requests.
    pub fn explain(&self, request: &impl RequestView) -> Vec<Candidate<'_>> {
        let host = without_root(request.host());
        let asked = self.conditions.iter().map(|condition| {
            let rank = self.host_rank(condition, host);
            let mismatch = match rank {
                None => Some(Mismatch::Host),
                Some(_) if !condition.path.admits(request.path()) => Some(Mismatch::Path),
                Some(_) => condition.mismatch(request),
            };
            (rank, self.found(condition), condition.item, mismatch)
        });
        explain::candidates(asked.collect())
    }

    fn host_rank(&self, condition: &Condition, host: &str) -> Option<HostRank> {
        let patterns = patterns(&self.routes[condition.route], self.are_hosts_asked);
        patterns.ok()?.into_iter().filter_map(|it| it.rank(host)).min()
    }
}

/// Whether what a route is attached to includes a place where requests come in.
fn includes(own: &Parent, asked: &Parent) -> bool {
    match (own, asked) {
        (
            Parent::Gateway { name, section },
            Parent::Gateway { name: asked_name, section: asked_section },
        ) => {
            let is_any = section.is_none() || asked_section.is_none();
            name == asked_name && (is_any || section == asked_section)
        }
        (Parent::Service { name }, Parent::Service { name: asked }) => name == asked,
        (Parent::Gateway { .. }, Parent::Service { .. })
        | (Parent::Service { .. }, Parent::Gateway { .. }) => false,
    }
}

fn conditions(place: usize, route: &Route) -> Result<Vec<Condition>, CompileError> {
    let mut conditions = Vec::new();
    for (position, rule) in route.rules.iter().enumerate() {
        let refused = |flaw| CompileError { route: route.name.clone(), rule: Some(position), flaw };
        check_filters(rule).map_err(refused)?;
        if rule.matches.is_empty() {
            let at = (place, position, None);
            conditions.push(Condition::compile(at, &EVERYTHING).map_err(refused)?);
        }
        for (item, written) in rule.matches.iter().enumerate() {
            let at = (place, position, Some(item));
            conditions.push(Condition::compile(at, written).map_err(refused)?);
        }
    }
    Ok(conditions)
}

fn patterns(route: &Route, are_hosts_asked: bool) -> Result<Vec<HostPattern<'_>>, CompileError> {
    if !are_hosts_asked || route.hostnames.is_empty() {
        return Ok(vec![HostPattern::Every]);
    }
    let refused = |flaw: Flaw| CompileError { route: route.name.clone(), rule: None, flaw };
    route.hostnames.iter().map(|it| HostPattern::parse(it).map_err(refused)).collect()
}
