//! Rows of drones. Each change of any of them gets a number, so that a copy can be kept up to date.

use base::Timestamp;
use contracts::{Words as _, drone_management::DronePhase};
use store::{Reader, Row, SqlError, Transaction};

use super::{decode, encode};
use crate::domain::{Airframe, Drone, Known, base_of, name_of};

/// One drone.
pub(crate) fn find_drone(reader: &Reader<'_>, id: &str) -> Result<Option<Known>, SqlError> {
    reader.query_optional("SELECT state, changed FROM drones WHERE id = ?1", &[&id], known)
}

/// The drones that were changed after a number, the latest last. As many as there are: the fleet
/// bounds it.
pub(crate) fn drones_changed_since(reader: &Reader<'_>, seen: u64) -> Result<Vec<Known>, SqlError> {
    reader.query_all(
        "SELECT state, changed FROM drones WHERE changed > ?1 ORDER BY changed, id",
        &[&seen],
        known,
    )
}

/// Drones in the order of their ids, of one phase or of all.
pub(crate) fn list_drones(
    reader: &Reader<'_>,
    phase: Option<DronePhase>,
    limit: u32,
) -> Result<Vec<Known>, SqlError> {
    let word = phase.map(DronePhase::word);
    reader.query_all(
        "SELECT state, changed FROM drones WHERE ?1 IS NULL OR phase = ?1 ORDER BY id LIMIT ?2",
        &[&word, &limit],
        known,
    )
}

/// Drones with more than one active booking: there must be none.
pub(crate) fn doubly_booked(reader: &Reader<'_>, limit: u32) -> Result<Vec<Known>, SqlError> {
    reader.query_all(
        "SELECT state, changed FROM drones WHERE id IN (
           SELECT drone_id FROM bookings WHERE state = 'Active'
           GROUP BY drone_id HAVING COUNT(*) > 1) ORDER BY id LIMIT ?1",
        &[&limit],
        known,
    )
}

/// The number of the next change. One transaction may use it for several drones.
pub(crate) fn next_change(reader: &Reader<'_>) -> Result<u64, SqlError> {
    let newest = "SELECT COALESCE(MAX(changed), 0) FROM drones";
    Ok(reader.query_one(newest, &[], |row| row.get::<u64>(0))? + 1)
}

/// Writes a drone, unless somebody else has changed it since it was read. Gives whether it did.
pub(crate) fn save_drone(
    transaction: &mut Transaction<'_>,
    drone: &Drone,
    read_at: u64,
    changed: u64,
) -> Result<bool, SqlError> {
    let saved = transaction.execute(
        "UPDATE drones SET state = ?2, phase = ?3, delivery_id = ?4, changed = ?5
         WHERE id = ?1 AND changed = ?6",
        &[
            &drone.id,
            &encode(drone)?,
            &drone.phase.word(),
            &drone.delivery_id(),
            &changed,
            &read_at,
        ],
    )?;
    Ok(saved == 1)
}

/// Adds a drone, unless there is one of that id. Gives whether it did.
pub(crate) fn insert_drone(
    transaction: &mut Transaction<'_>,
    drone: &Drone,
    changed: u64,
) -> Result<bool, SqlError> {
    let added = transaction.execute(
        "INSERT OR IGNORE INTO drones (id, state, phase, delivery_id, changed)
         VALUES (?1, ?2, ?3, ?4, ?5)",
        &[&drone.id, &encode(drone)?, &drone.phase.word(), &drone.delivery_id(), &changed],
    )?;
    Ok(added == 1)
}

/// Adds the drones that are missing of the first so many. Gives how many that were.
pub(crate) fn seed_fleet(
    transaction: &mut Transaction<'_>,
    drones: u32,
    airframe: Airframe,
    now: Timestamp,
) -> Result<u64, SqlError> {
    let changed = next_change(transaction)?;
    let mut added = 0;
    for number in 1..=drones {
        let drone = Drone::new(name_of(number), base_of(number), airframe, now);
        added += u64::from(insert_drone(transaction, &drone, changed)?);
    }
    Ok(added)
}

fn known(row: &Row<'_>) -> Result<Known, SqlError> {
    let state: String = row.get(0)?;
    Ok(Known { drone: decode(&state)?, changed: row.get(1)? })
}
