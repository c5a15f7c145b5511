use super::*;
use crate::topology::report::{EdgeReport, ServiceState};

const ROUND: Duration = Duration::from_secs(2);

fn process(service: &str, number: u32, state: &str, port: u16) -> Process {
    Process {
        service: service.to_owned(),
        instance: format!("{service}-{number}"),
        part: Part::Instance,
        state: state.to_owned(),
        admin: (port > 0).then(|| ([127, 0, 0, 1], port).into()),
    }
}

/// A page on which the shop asked the stock so often, with so many failures, each in under 0.1 s.
fn page(requests: u32, errors: u32, is_open: bool) -> Page {
    page_by("shop", requests, errors, is_open)
}

/// The same, counted under this name.
fn page_by(source: &str, requests: u32, errors: u32, is_open: bool) -> Page {
    let of = format!("source=\"{source}\",route=\"\",destination=\"stock\"");
    let (good, open) = (requests - errors, u32::from(is_open));
    let text = format!(
        "mesh_requests_total{{{of},class=\"2xx\"}} {good}\n\
         mesh_requests_total{{{of},class=\"5xx\"}} {errors}\n\
         mesh_request_duration_seconds_bucket{{{of},le=\"0.1\"}} {requests}\n\
         mesh_request_duration_seconds_bucket{{{of},le=\"+Inf\"}} {requests}\n\
         mesh_attempts_total{{destination=\"stock\",endpoint=\"stock-1\",class=\"2xx\"}} 1\n\
         mesh_breaker_open_state{{destination=\"stock\",endpoint=\"stock-1\"}} {open}\n"
    );
    Page::read(&text, "shop")
}

fn reading(port: u16, page: Option<Page>) -> Reading {
    Reading { process: process("shop", 1, "ready", port), page }
}

/// The edge after these rounds of one shop, each by its port and page.
fn after(rounds: Vec<(u16, Option<Page>)>) -> EdgeReport {
    let mut topology = Topology::default();
    for (port, page) in rounds {
        topology.take(ROUND, vec![reading(port, page)]);
    }
    let report = topology.report();
    assert_eq!(report.edges.len(), 1, "{report:?}");
    report.edges[0].clone()
}

#[track_caller]
fn check(rounds: Vec<(u16, Option<Page>)>, history: &[f64], error_share: Option<f64>) {
    let edge = after(rounds);
    assert_eq!((edge.history.as_slice(), edge.error_share), (history, error_share));
}

#[test]
fn rates_are_of_what_was_counted_between_rounds() {
    let rounds = vec![
        (1, Some(page(1_000, 500, false))),
        (1, Some(page(1_010, 505, false))),
        (1, Some(page(1_030, 505, true))),
    ];
    let edge = after(rounds);
    // The first page tells how much, not since when.
    assert_eq!(edge.history, [0.0, 5.0, 10.0]);
    assert_eq!((edge.requests_per_second, edge.error_share), (5.0, Some(5.0 / 30.0)));
    assert_eq!((edge.p50_seconds, edge.p99_seconds), (Some(0.05), Some(0.099)));
    assert_eq!((edge.breakers_open, edge.endpoints[0].name.as_str()), (1, "stock-1"));
}

#[test]
fn what_is_counted_while_nobody_hears_it_belongs_to_the_next_answer() {
    let rounds = vec![(1, Some(page(10, 0, false))), (1, None), (1, Some(page(18, 4, false)))];
    check(rounds, &[0.0, 0.0, 4.0], Some(0.5));
}

#[test]
fn a_process_that_began_anew_is_counted_from_nothing() {
    let elsewhere = vec![(1, Some(page(10, 0, false))), (2, Some(page(12, 0, false)))];
    check(elsewhere, &[0.0, 6.0], Some(0.0));
    let in_its_place = vec![(1, Some(page(10, 0, false))), (1, Some(page(4, 0, false)))];
    check(in_its_place, &[0.0, 2.0], Some(0.0));
}

#[test]
fn without_requests_there_is_no_share_and_no_percentile() {
    let edge = after(vec![(1, Some(page(10, 5, false))), (1, Some(page(10, 5, false)))]);
    assert_eq!((edge.error_share, edge.p50_seconds, edge.p99_seconds), (None, None, None));
}

#[test]
fn a_breaker_of_a_caller_that_is_silent_is_not_known() {
    let edge = after(vec![(1, Some(page(10, 5, true))), (1, None)]);
    assert_eq!((edge.breakers_open, edge.endpoints), (0, Vec::new()));
}

#[test]
fn only_the_newest_samples_are_kept_and_half_of_them_shown() {
    let rounds = (0..40).map(|it: u32| {
        // Ten a round until the end nears, then none.
        (1, Some(page(10 * it.min(24), 0, false)))
    });
    let edge = after(rounds.collect());
    assert_eq!(edge.history.len(), SAMPLES_MAX);
    assert_eq!((edge.history[0], edge.requests_per_second), (5.0, 0.0));
}

#[test]
fn no_more_edges_are_kept_than_the_bound_and_the_rest_is_counted() {
    let text: String = (0..EDGES_MAX + 7)
        .map(|it| format!("mesh_requests_total{{source=\"shop\",destination=\"d{it}\"}} 1\n"))
        .collect();
    let mut topology = Topology::default();
    for _ in 0..2 {
        topology.take(ROUND, vec![reading(1, Some(Page::read(&text, "shop")))]);
        let report = topology.report();
        assert_eq!((report.edges.len(), report.edges_dropped), (EDGES_MAX, 7));
    }
}

#[track_caller]
fn check_state(stock: &[(&str, u16, bool)], expected: ServiceState, ready: usize) {
    let mut round = vec![reading(1, Some(page(1, 0, false)))];
    for (number, (state, port, answers)) in (1..).zip(stock) {
        let process = process("stock", number, state, *port);
        round.push(Reading { process, page: answers.then(Page::default) });
    }
    let mut topology = Topology::default();
    topology.take(ROUND, round);
    let services = topology.report().services;
    let names: Vec<_> = services.iter().map(|it| (it.name.as_str(), it.layer)).collect();
    assert_eq!(names, [("shop", Some(0)), ("stock", Some(1))]);
    let found = &services[1];
    assert_eq!((found.state, found.ready, found.total), (expected, ready, stock.len()));
}

#[test]
fn a_service_is_well_when_all_of_it_is_ready_and_answers() {
    check_state(&[("ready", 2, true), ("ready", 3, true)], ServiceState::Well, 2);
    // A program of somebody else serves no metrics of ours.
    check_state(&[("ready", 0, false)], ServiceState::Well, 1);
    check_state(&[("ready", 2, true), ("ready", 3, false)], ServiceState::Partly, 2);
    check_state(&[("ready", 2, true), ("waiting", 0, false)], ServiceState::Partly, 1);
    check_state(&[("crash-loop", 0, false)], ServiceState::Down, 0);
    check_state(&[], ServiceState::Unknown, 0);
}

#[test]
fn a_proxy_is_no_further_instance_and_counts_for_its_service() {
    let proxy = Process { part: Part::Proxy, ..process("shop", 2, "ready", 2) };
    let mut topology = Topology::default();
    for requests in [10, 14] {
        // The program calls its proxy, under a name that is no service's.
        let program = reading(1, Some(page_by("client", requests, 0, false)));
        let proxy = Reading { process: proxy.clone(), page: Some(page(requests, 0, true)) };
        topology.take(ROUND, vec![program, proxy]);
    }
    let report = topology.report();
    assert_eq!((report.services[0].total, report.services[0].processes.len()), (1, 2));
    assert_eq!(report.edges[0].requests_per_second, 1.0);
    assert_eq!(report.edges[0].endpoints[0].callers, 1);
}

#[test]
fn who_neither_calls_nor_is_called_is_listed_without_a_column() {
    let round = [("log", 1), ("page", 2)].map(|(name, port)| Reading {
        process: process(name, 1, "ready", port),
        page: Some(Page::default()),
    });
    let mut topology = Topology::default();
    topology.take(ROUND, round.into());
    let places = topology.report().services.into_iter().map(|it| (it.layer, it.row));
    assert_eq!(places.collect::<Vec<_>>(), [(None, 0), (None, 1)]);
}
