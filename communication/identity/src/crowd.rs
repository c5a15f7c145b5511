//! Who is under way, and who gives way where there is no room: the one who came first of the address that
//! holds most. Who says nothing grows old; who is served is gone in milliseconds. So whoever fills the room
//! with silence pushes his own out, and nobody else's as long as there are others of his.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::pending,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

/// A room with so many places for those whom nobody knows yet; a cheap handle.
#[derive(Debug, Clone)]
pub struct Room(Arc<Mutex<Crowd<oneshot::Sender<()>>>>);

/// A place in a room, until it is dropped.
#[derive(Debug)]
pub struct Place {
    room: Room,
    number: u64,
    told: oneshot::Receiver<()>,
}

impl Room {
    /// One with so many places; one at the least.
    #[must_use]
    pub fn new(places: usize) -> Self {
        Self(Arc::new(Mutex::new(Crowd::new(places))))
    }

    /// A place for who comes from there. Where all are taken the one who came first of the address that
    /// holds most is told to give way.
    #[must_use]
    pub fn enter(&self, from: IpAddr) -> Place {
        let (tell, told) = oneshot::channel();
        let (number, gives_way) = self.crowd().enter(from, tell);
        if let Some(tell) = gives_way {
            // It may just have come to its end.
            tell.send(()).ok();
        }
        Place { room: self.clone(), number, told }
    }

    fn crowd(&self) -> MutexGuard<'_, Crowd<oneshot::Sender<()>>> {
        // Locked for one change, never while anything waits. A change is whole, or nothing of it is done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Waits until it has to give way, and is to be dropped then. Cancel-safe.
    pub async fn told_to_go(&mut self) {
        if (&mut self.told).await.is_err() {
            pending().await
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.room.crowd().leave(self.number);
    }
}

/// The ones under way, each with what tells it to give way.
#[derive(Debug)]
struct Crowd<T> {
    max: usize,
    next: u64,
    places: BTreeMap<u64, (IpAddr, T)>,
    of_address: BTreeMap<IpAddr, BTreeSet<u64>>,
}

impl<T> Crowd<T> {
    /// Room for so many; one at the least.
    fn new(max: usize) -> Self {
        Self { max: max.max(1), next: 0, places: BTreeMap::new(), of_address: BTreeMap::new() }
    }

    /// Gives a place, and what tells somebody to give way whose place it was.
    fn enter(&mut self, from: IpAddr, tell: T) -> (u64, Option<T>) {
        let told = if self.places.len() < self.max { None } else { self.first_to_go() };
        let number = self.next;
        self.next += 1;
        self.places.insert(number, (from, tell));
        self.of_address.entry(from).or_default().insert(number);
        (number, told)
    }

    /// Makes room; who was told to give way has none any more.
    fn leave(&mut self, number: u64) -> Option<T> {
        let (from, tell) = self.places.remove(&number)?;
        if let Some(numbers) = self.of_address.get_mut(&from) {
            numbers.remove(&number);
            if numbers.is_empty() {
                self.of_address.remove(&from);
            }
        }
        Some(tell)
    }

    fn first_to_go(&mut self) -> Option<T> {
        let first = |it: &BTreeSet<u64>| it.first().copied().unwrap_or(u64::MAX);
        // Of several that hold as many, the one who came first of all.
        let most =
            self.of_address.values().max_by_key(|it| (it.len(), std::cmp::Reverse(first(it))))?;
        self.leave(first(most))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    /// A crowd of these, each known by its place in the list.
    fn crowd(max: usize, from: &[u8]) -> Crowd<usize> {
        let mut crowd = Crowd::new(max);
        for (at, from) in from.iter().enumerate() {
            assert_eq!(crowd.enter(address(*from), at).1, None);
        }
        crowd
    }

    #[test]
    fn who_fills_the_room_pushes_his_own_out_and_the_oldest_first() {
        let mut crowd = crowd(4, &[2, 1, 1, 1]);
        assert_eq!(crowd.enter(address(1), 4).1, Some(1));
        assert_eq!(crowd.enter(address(3), 5).1, Some(2));
        // Two of the first address are left, and one of each other.
        assert_eq!(crowd.enter(address(4), 6).1, Some(3));
        assert_eq!(crowd.enter(address(5), 7).1, Some(0), "as many each: who came first of all");
    }

    #[test]
    fn who_leaves_makes_room_once() {
        let mut crowd = crowd(2, &[1]);
        let (number, _) = crowd.enter(address(1), 7);
        assert_eq!(crowd.leave(number), Some(7));
        assert_eq!(crowd.leave(number), None);
        assert_eq!(crowd.enter(address(2), 8).1, None);
        assert_eq!(crowd.enter(address(2), 9).1, Some(0));
    }

    #[test]
    fn there_is_room_for_one_and_it_is_never_exceeded() {
        let mut crowd = Crowd::new(0);
        for number in 0..1_000_u32 {
            // Each from an address of its own.
            let from = IpAddr::from(number.to_be_bytes());
            let told = crowd.enter(from, number).1;
            assert_eq!(told, number.checked_sub(1));
            assert_eq!((crowd.places.len(), crowd.of_address.len()), (1, 1));
        }
    }
}
