//! The anchor of simulated time: one row, so that every replica and every later life of a service
//! shares a clock.
//!
//! The table is the service's own: its migrations make `simulation (id INTEGER PRIMARY KEY CHECK
//! (id = 1), wall INTEGER, simulated INTEGER, scale REAL)`.

use base::{SimulatedClock, Timestamp};

use crate::{SqlError, Transaction};

/// The clock that every replica and every later life shares. Another pace counts from now on.
///
/// # Errors
/// There is no such table, or the database refused.
pub fn simulated_clock(
    transaction: &mut Transaction<'_>,
    scale: f64,
) -> Result<SimulatedClock, SqlError> {
    let now = transaction.now();
    let kept = transaction.query_optional(
        "SELECT wall, simulated, scale FROM simulation WHERE id = 1",
        &[],
        |row| {
            let (wall, simulated): (Timestamp, Timestamp) = (row.get(0)?, row.get(1)?);
            Ok(SimulatedClock { wall, simulated, scale: row.get(2)? })
        },
    )?;
    let clock = match kept {
        Some(kept) if (kept.scale - scale).abs() < f64::EPSILON => return Ok(kept),
        Some(kept) => kept.paced(now, scale),
        None => SimulatedClock::starting_at(now, scale),
    };
    transaction.execute(
        "INSERT OR REPLACE INTO simulation (id, wall, simulated, scale) VALUES (1, ?1, ?2, ?3)",
        &[&clock.wall, &clock.simulated, &clock.scale],
    )?;
    Ok(clock)
}
