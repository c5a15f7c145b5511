//! The choice among endpoints.

use std::cmp::Ordering;

use base::Random;

use super::Algorithm;

/// Endpoints of one destination, by index. Each method is called a few times for each request.
pub trait Candidates {
    /// How many there are, whether they may be picked or not.
    fn len(&self) -> usize;
    /// Whether there is none at all.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Whether this one may be picked now.
    fn is_eligible(&self, index: usize) -> bool;
    /// What the algorithm compares; less is better. Round robin and random do not ask.
    fn score(&self, index: usize) -> f64;
    /// Its share among the others: configured weight × warmth. Zero or less is never picked.
    fn weight(&self, index: usize) -> f64;
}

/// Who takes the request; `None` when nobody may.
///
/// `turn` counts the requests of the destination; only round robin reads it.
pub fn pick(
    algorithm: Algorithm,
    candidates: &impl Candidates,
    turn: u64,
    random: &mut Random,
) -> Option<usize> {
    pick_elsewhere(algorithm, candidates, &[], turn, random)
}

/// As [`pick`], but those in `tried` only when nobody else may: a retry goes elsewhere first.
pub fn pick_elsewhere(
    algorithm: Algorithm,
    candidates: &impl Candidates,
    tried: &[usize],
    turn: u64,
    random: &mut Random,
) -> Option<usize> {
    let untried = Eligible { candidates, except: tried };
    untried.pick(algorithm, turn, random).or_else(|| {
        let all = Eligible { candidates, except: &[] };
        if tried.is_empty() { None } else { all.pick(algorithm, turn, random) }
    })
}

struct Eligible<'a, C> {
    candidates: &'a C,
    except: &'a [usize],
}

impl<C: Candidates> Eligible<'_, C> {
    fn pick(&self, algorithm: Algorithm, turn: u64, random: &mut Random) -> Option<usize> {
        match algorithm {
            Algorithm::PeakEwma | Algorithm::LeastRequest => self.better_of_two(random),
            Algorithm::RoundRobin => self.in_turn(turn),
            Algorithm::Random => self.at(random.unit()),
        }
    }

    fn indices(&self) -> impl Iterator<Item = usize> {
        (0..self.candidates.len()).filter(|&it| self.contains(it))
    }

    fn contains(&self, index: usize) -> bool {
        self.candidates.weight(index) > 0.0
            && !self.except.contains(&index)
            && self.candidates.is_eligible(index)
    }

    /// A uniform draw. Nearly all may be picked nearly always, so a few blind draws save looking at
    /// each; that a draw is repeated until it fits leaves it uniform.
    fn draw(&self, other_than: Option<usize>, random: &mut Random) -> Option<usize> {
        const BLIND_DRAWS: usize = 8;
        let fits = |it: &usize| Some(*it) != other_than && self.contains(*it);
        let count = self.candidates.len() as u64;
        for _ in 0..BLIND_DRAWS {
            let index = usize::try_from(random.below(count)).ok()?;
            if count > 0 && fits(&index) {
                return Some(index);
            }
        }
        let count = self.indices().filter(fits).count() as u64;
        let position = usize::try_from(random.below(count)).ok()?;
        self.indices().filter(fits).nth(position)
    }

    /// Two distinct uniform draws, then the one with the lower score; the first where they are equal.
    ///
    /// The lighter of the two stands for the comparison only now and then. With little on its hands
    /// it then mostly wins, so it gets about `lighter / heavier` of the traffic that it would get at
    /// equal weights, however many others there are; load decides within that.
    fn better_of_two(&self, random: &mut Random) -> Option<usize> {
        let first = self.draw(None, random)?;
        let Some(second) = self.draw(Some(first), random) else { return Some(first) };
        let (one, other) = (self.candidates.weight(first), self.candidates.weight(second));
        let (lighter, heavier) = (one.min(other), one.max(other));
        // Equal weights, the usual case, cost no draw.
        if lighter < heavier && random.unit() * (2.0_f64.mul_add(heavier, -lighter)) >= lighter {
            return Some(if one < other { second } else { first });
        }
        match self.candidates.score(first).total_cmp(&self.candidates.score(second)) {
            Ordering::Less | Ordering::Equal => Some(first),
            Ordering::Greater => Some(second),
        }
    }

    /// Equal weights take strict turns. Others follow the multiples of the golden ratio, which fill
    /// the unit interval as evenly as any sequence can, so that shares are right soon and a heavy
    /// endpoint is not called several times running.
    fn in_turn(&self, turn: u64) -> Option<usize> {
        let mut count = 0;
        let (mut least, mut most) = (f64::INFINITY, 0.0_f64);
        for weight in self.indices().map(|it| self.candidates.weight(it)) {
            count += 1;
            (least, most) = (least.min(weight), most.max(weight));
        }
        if count == 0 {
            return None;
        }
        if least < most { self.at(golden(turn)) } else { self.nth(turn % count) }
    }

    fn nth(&self, position: u64) -> Option<usize> {
        self.indices().nth(usize::try_from(position).ok()?)
    }

    /// The endpoint at a point of the unit interval, where each has a stretch by its weight.
    fn at(&self, unit: f64) -> Option<usize> {
        let total: f64 = self.indices().map(|it| self.candidates.weight(it)).sum();
        let mut rest = unit * total;
        let mut last = None;
        for index in self.indices() {
            rest -= self.candidates.weight(index);
            last = Some(index);
            if rest < 0.0 {
                break;
            }
        }
        last
    }
}

/// The fractional part of `turn × φ`.
fn golden(turn: u64) -> f64 {
    /// 2^64 / φ, odd.
    const STEP: u64 = 0x9E37_79B9_7F4A_7C15;
    /// 2^53: what a double holds exactly.
    const SCALE: f64 = 9_007_199_254_740_992.0;
    let bits = turn.wrapping_mul(STEP) >> 11;
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit exactly")]
    let bits = bits as f64;
    bits / SCALE
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Table(Vec<(bool, f64, f64)>);

    impl Candidates for Table {
        fn len(&self) -> usize {
            self.0.len()
        }
        fn is_eligible(&self, index: usize) -> bool {
            self.0[index].0
        }
        fn score(&self, index: usize) -> f64 {
            self.0[index].1
        }
        fn weight(&self, index: usize) -> f64 {
            self.0[index].2
        }
    }

    const ALL: [Algorithm; 4] =
        [Algorithm::PeakEwma, Algorithm::LeastRequest, Algorithm::RoundRobin, Algorithm::Random];

    fn counts(algorithm: Algorithm, table: &Table, picks: u64) -> Vec<u64> {
        let mut random = Random::with_seed(41);
        let mut counts = vec![0; table.len()];
        for turn in 0..picks {
            if let Some(index) = pick(algorithm, table, turn, &mut random) {
                counts[index] += 1;
            }
        }
        counts
    }

    #[track_caller]
    fn check_shares(algorithm: Algorithm, weights: &[f64], expected: &[f64], within: f64) {
        let table = Table(weights.iter().map(|&it| (true, 1.0, it)).collect());
        let counts = counts(algorithm, &table, 10_000);
        for (count, expected) in counts.iter().zip(expected) {
            let share = *count as f64 / 10_000.0;
            assert!((share - expected).abs() <= within, "{algorithm:?}: {counts:?}");
        }
    }

    // mesh 12b: 1
    #[test]
    fn of_two_endpoints_the_loaded_one_is_never_picked() {
        for algorithm in [Algorithm::PeakEwma, Algorithm::LeastRequest] {
            let table = Table(vec![(true, 0.0, 1.0), (true, 1.0, 1.0)]);
            assert_eq!(counts(algorithm, &table, 10_000), [10_000, 0]);
        }
    }

    #[test]
    fn nobody_is_picked_when_nobody_may_be() {
        for algorithm in ALL {
            assert_eq!(counts(algorithm, &Table(vec![]), 9), Vec::<u64>::new());
            let refused = Table(vec![(false, 0.0, 1.0), (true, 0.0, 0.0)]);
            assert_eq!(counts(algorithm, &refused, 9), [0, 0]);
        }
    }

    #[test]
    fn whoever_may_not_be_picked_is_not_however_good() {
        for algorithm in ALL {
            let table = Table(vec![(true, 9.0, 1.0), (false, 0.0, 1.0), (true, 9.0, 1.0)]);
            let counts = counts(algorithm, &table, 1_000);
            assert!(counts[1] == 0 && counts[0] > 400 && counts[2] > 400, "{counts:?}");
        }
    }

    #[test]
    fn equal_endpoints_get_equal_shares() {
        for algorithm in ALL {
            check_shares(algorithm, &[1.0; 4], &[0.25; 4], 0.02);
        }
    }

    #[test]
    fn round_robin_and_random_keep_to_weights() {
        let expected = [0.7, 0.3, 0.0];
        check_shares(Algorithm::RoundRobin, &[70.0, 30.0, 0.0], &expected, 0.001);
        check_shares(Algorithm::Random, &[70.0, 30.0, 0.0], &expected, 0.02);
    }

    #[test]
    fn round_robin_takes_strict_turns_among_those_that_may() {
        let table = Table(vec![(true, 0.0, 2.0), (false, 0.0, 2.0), (true, 0.0, 2.0)]);
        let mut random = Random::with_seed(1);
        let turns: Vec<_> =
            (0..4).filter_map(|it| pick(Algorithm::RoundRobin, &table, it, &mut random)).collect();
        assert_eq!(turns, [0, 2, 0, 2]);
    }

    // mesh 12b: 27
    #[test]
    fn a_retry_goes_elsewhere_while_there_is_an_elsewhere() {
        let mut random = Random::with_seed(7);
        let table = Table(vec![(true, 0.0, 1.0), (true, 9.0, 1.0), (false, 0.0, 1.0)]);
        for algorithm in ALL {
            let mut again =
                |tried: &[usize]| pick_elsewhere(algorithm, &table, tried, 0, &mut random);
            assert_eq!(again(&[0]), Some(1));
            assert_eq!(again(&[1]), Some(0));
            assert!(again(&[0, 1]).is_some());
        }
    }
}
