//! Rows of drones. Each change of any of them gets a number, so that a copy can be kept up to date.

use base::Timestamp;
use contracts::{Words as _, drone_management::DronePhase};
use fleet_rules::{Airframe, base_of, name_of};
use store::{Reader, Row, SqlError, Transaction};

use super::{decode, encode, next_change};
use crate::domain::{Drone, Known};

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
    after: &str,
    limit: u32,
) -> Result<Vec<Known>, SqlError> {
    let word = phase.map(DronePhase::word);
    reader.query_all(
        "SELECT state, changed FROM drones
         WHERE id > ?2 AND (?1 IS NULL OR phase = ?1) ORDER BY id LIMIT ?3",
        &[&word, &after, &limit],
        known,
    )
}

/// Drones that fly for more than one delivery: there must be none.
pub(crate) fn doubly_booked(
    reader: &Reader<'_>,
    after: &str,
    limit: u32,
) -> Result<Vec<Known>, SqlError> {
    reader.query_all(
        "SELECT state, changed FROM drones WHERE id > ?1 AND id IN (
           SELECT drone_id FROM bookings WHERE state = 'Active' AND took_off = 1
           GROUP BY drone_id HAVING COUNT(*) > 1) ORDER BY id LIMIT ?2",
        &[&after, &limit],
        known,
    )
}

/// Writes a drone, unless somebody else has changed it since it was read. Gives whether it did.
pub(crate) fn save_drone(
    transaction: &mut Transaction<'_>,
    drone: &Drone,
    read_at: u64,
    changed: u64,
) -> Result<bool, SqlError> {
    let saved = transaction.execute(
        "UPDATE drones SET state = ?2, phase = ?3, changed = ?4 WHERE id = ?1 AND changed = ?5",
        &[&drone.id, &encode(drone)?, &drone.phase.word(), &changed, &read_at],
    )?;
    if saved == 1 {
        // Most phases are of the same delivery, and to name the column would write its index.
        transaction.execute(
            "UPDATE drones SET delivery_id = ?2 WHERE id = ?1 AND delivery_id IS NOT ?2",
            &[&drone.id, &drone.delivery_id()],
        )?;
    }
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

/// Gives drones that are as the fleet's usual was before what is usual now; one that an operator
/// made another is left as it is. Gives how many were changed.
pub(crate) fn use_airframe(
    transaction: &mut Transaction<'_>,
    usual: Airframe,
) -> Result<u64, SqlError> {
    let sql = "SELECT payload_kg, range_m FROM usual_airframe WHERE id = 1";
    let before = transaction.query_optional(sql, &[], |row| {
        Ok(Airframe { payload_kg: row.get(0)?, range_m: row.get(1)? })
    })?;
    transaction.execute(
        "INSERT OR REPLACE INTO usual_airframe (id, payload_kg, range_m) VALUES (1, ?1, ?2)",
        &[&usual.payload_kg, &usual.range_m],
    )?;
    let Some(before) = before.filter(|it| *it != usual) else { return Ok(0) };
    let next = next_change(transaction)?;
    let mut changed = 0;
    for known in drones_changed_since(transaction, 0)? {
        if known.drone.airframe == before {
            let drone = Drone { airframe: usual, ..known.drone };
            changed += u64::from(save_drone(transaction, &drone, known.changed, next)?);
        }
    }
    Ok(changed)
}

fn known(row: &Row<'_>) -> Result<Known, SqlError> {
    let state: String = row.get(0)?;
    Ok(Known { drone: decode(&state)?, changed: row.get(1)? })
}
