//! A shipment whose carrier is a company outside: where it stands is what the company says.

use base::Timestamp;
use contracts::{Location, third_party_transport::CarrierPhase};

use super::{
    fate::Fate,
    shipment::{PhaseChange, Shipment},
    standing::Outside,
    tour::Roads,
    trip::Trip,
};

/// What a company says of one booking.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct News {
    /// Grows with each of a booking.
    pub(crate) number: u64,
    pub(crate) phase: CarrierPhase,
    pub(crate) position: Option<Location>,
    /// Both on the carriers' clock.
    pub(crate) at: Timestamp,
    pub(crate) delivery_eta: Option<Timestamp>,
}

impl Shipment {
    /// Books a company that has agreed already.
    pub(crate) fn book_outside(
        delivery_id: String,
        carrier: String,
        trip: Trip,
        (trace, now): (Option<String>, Timestamp),
        (delivery_eta, roads): (Option<Timestamp>, &Roads),
    ) -> (Self, PhaseChange) {
        let agreed = Outside { delivery_eta, ..Outside::default() };
        let fate = (carrier, Fate::default());
        let (mut booked, mut change) = Self::book(delivery_id, fate, trip, trace, now, roads);
        booked.outside = Some(agreed);
        change.delivery_eta = delivery_eta;
        (booked, change)
    }

    /// Whether news say anything: old news, news of a phase behind it, and news after the end do not.
    pub(crate) fn is_new(&self, news: &News) -> bool {
        self.outside.is_some_and(|it| news.number > it.news)
            && self.is_open()
            && news.phase >= self.phase
    }

    /// Takes news in; gives what is to be announced. What is not new changes nothing.
    pub(crate) fn hear(&mut self, news: &News, roads: &Roads) -> Option<PhaseChange> {
        let known = self.outside.filter(|_| self.is_new(news))?;
        self.outside = Some(Outside {
            news: news.number,
            position: news.position.or(known.position),
            delivery_eta: news.delivery_eta.or(known.delivery_eta),
            ..known
        });
        Some(self.reach(news.phase, news.at, roads))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{super::rule::tests::trip, *};

    const ROADS: Roads = Roads {
        speed_mps: 12.0,
        handling: Duration::from_secs(120),
        depot: Location::new(60.169, 24.9425),
    };
    const HERE: Location = Location::new(60.2, 24.9);

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1_000)
    }

    fn booked() -> Shipment {
        let (id, carrier) = ("d1".to_owned(), "acme".to_owned());
        let trip = trip((60.3172, 24.9633), 40.0);
        Shipment::book_outside(id, carrier, trip, (None, at(0)), (Some(at(900)), &ROADS)).0
    }

    fn news(number: u64, phase: CarrierPhase) -> News {
        let (position, delivery_eta) = (Some(HERE), None);
        News { number, phase, position, at: at(60), delivery_eta }
    }

    #[test]
    fn where_it_stands_and_when_it_comes_is_what_the_company_said_last() {
        let mut shipment = booked();
        let told = shipment.hear(&news(1, CarrierPhase::EnRouteToPickup), &ROADS).unwrap();
        assert_eq!((told.phase, told.position), (CarrierPhase::EnRouteToPickup, HERE));
        assert_eq!((told.delivery_eta, told.sequence), (Some(at(900)), 2));
        let late = News { delivery_eta: Some(at(1_500)), ..news(2, CarrierPhase::EnRouteToPickup) };
        assert_eq!(shipment.hear(&late, &ROADS).unwrap().delivery_eta, Some(at(1_500)));
        assert_eq!(shipment.due(), None, "nothing is simulated of it");
    }

    #[test]
    fn old_news_a_way_back_and_news_after_the_end_change_nothing() {
        let mut shipment = booked();
        assert!(shipment.hear(&news(5, CarrierPhase::PickedUp), &ROADS).is_some());
        let before = shipment.clone();
        for old in [news(5, CarrierPhase::DroppedOff), news(6, CarrierPhase::EnRouteToPickup)] {
            assert_eq!(shipment.hear(&old, &ROADS), None, "{old:?}");
        }
        assert_eq!(shipment, before);
        assert!(shipment.hear(&news(7, CarrierPhase::DroppedOff), &ROADS).is_some());
        assert_eq!(shipment.hear(&news(8, CarrierPhase::Failed), &ROADS), None);
    }
}
