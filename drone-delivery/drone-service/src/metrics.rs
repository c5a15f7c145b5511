//! What the Drone service counts.

use contracts::drone_management::DronePhase;
use telemetry::{Counter, CounterFamily, Gauge, HistogramFamily, Telemetry};

/// Numbers of one process.
#[derive(Debug, Clone)]
pub(crate) struct FleetMetrics {
    bookings: Gauge,
    flights: Gauge,
    leads: Gauge,
    /// Drones that were moved on.
    pub(crate) moves: Counter,
    /// Positions that were published.
    pub(crate) positions: Counter,
    /// Positions that were not, because newer ones were on their way.
    pub(crate) positions_skipped: Counter,
    decisions: CounterFamily,
    promise_errors: HistogramFamily,
}

/// Seconds of wall time by which a promise is missed: to an hour, from what nobody notices even where
/// simulated time is some hundred times as fast.
const ERROR_BOUNDS: [f64; 15] =
    [0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3_600.0];

impl FleetMetrics {
    /// Registers them.
    pub(crate) fn new(telemetry: &Telemetry) -> Self {
        let metrics = telemetry.metrics();
        let gauge = |name, help| metrics.gauge(name, help, &[]).with(&[]);
        let counter = |name, help| metrics.counter(name, help, &[]).with(&[]);
        Self {
            bookings: gauge("drone_bookings_count", "Bookings that wait in the plan of a drone."),
            flights: gauge("drone_flights_count", "Drones that are away from their base."),
            leads: gauge("drone_flights_lead_count", "1 where this process moves the fleet on."),
            moves: counter("drone_moves_total", "Drones that this process moved on."),
            positions: counter("drone_positions_published_total", "Positions that were published."),
            positions_skipped: counter(
                "drone_positions_skipped_total",
                "Positions that were left out because the bound was reached or the log was slow.",
            ),
            decisions: metrics.counter(
                "drone_booking_decisions_total",
                "Requests for a drone by what was decided.",
                &["decision"],
            ),
            promise_errors: metrics.histogram_with(
                "drone_promise_error_seconds",
                "Wall time between what was promised at the booking and what came, early or late.",
                &["moment"],
                &ERROR_BOUNDS,
            ),
        }
    }

    pub(crate) fn report(&self, waiting: usize, flying: usize, leads: bool) {
        let number = |it: usize| u32::try_from(it).map_or(f64::MAX, f64::from);
        self.bookings.set(number(waiting));
        self.flights.set(number(flying));
        self.leads.set(f64::from(u8::from(leads)));
    }

    /// A promised moment has come, so many seconds early or late.
    pub(crate) fn missed(&self, phase: DronePhase, seconds: f64) {
        let moment = if phase == DronePhase::AtPickup { "pickup" } else { "arrival" };
        self.promise_errors.with(&[moment]).observe(seconds);
    }

    /// A request for a drone was decided.
    pub(crate) fn decided(&self, decision: &str) {
        self.decisions.with(&[decision]).inc();
    }
}
