//! What a process says at `/metrics`, as far as the mesh is concerned, and percentiles of it.

use std::collections::BTreeMap;

/// One line: a name, labels, a value.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Name of the series.
    pub name: String,
    /// Labels by name.
    pub labels: BTreeMap<String, String>,
    /// Value.
    pub value: f64,
}

impl Sample {
    /// A label; empty where there is none.
    #[must_use]
    pub fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }
}

/// The series whose names begin with `prefix`, from the Prometheus text form 0.0.4. Lines that are
/// none are passed over.
#[must_use]
pub fn parse(text: &str, prefix: &str) -> Vec<Sample> {
    text.lines().filter(|it| it.starts_with(prefix)).filter_map(sample).collect()
}

fn sample(line: &str) -> Option<Sample> {
    let end = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(end);
    let mut labels = BTreeMap::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        while !rest.starts_with('}') {
            let (label, behind) = rest.split_once("=\"")?;
            let (value, behind) = quoted(behind)?;
            labels.insert(label.trim_start_matches(',').trim().to_owned(), value);
            rest = behind;
        }
        rest = &rest[1..];
    }
    let value = rest.split_ascii_whitespace().next()?.parse().ok()?;
    Some(Sample { name: name.to_owned(), labels, value })
}

/// A label's value up to its closing quote, and what is behind it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => match letters.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    None
}

/// A distribution: how many values were at most each bound, bounds ascending, the last infinite.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Distribution(Vec<(f64, f64)>);

impl Distribution {
    /// Adds a count of values that are at most `bound`.
    pub fn add(&mut self, bound: f64, count: f64) {
        match self.0.binary_search_by(|it| it.0.total_cmp(&bound)) {
            Ok(at) => self.0[at].1 += count,
            Err(at) => self.0.insert(at, (bound, count)),
        }
    }

    /// The value that a share of the values is at most; `None` where there are none.
    ///
    /// It lies in the bucket of the true one (nearest rank); within the bucket it is interpolated as
    /// if values were spread evenly, as Prometheus does. Beyond the last finite bound it is that bound.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Option<f64> {
        let all = self.0.last()?.1;
        if all < 1.0 {
            return None;
        }
        let rank = (share * all).ceil().clamp(1.0, all);
        let (mut below, mut lower) = (0.0, 0.0);
        for &(bound, count) in &self.0 {
            if count >= rank {
                let inside = (rank - below) / (count - below);
                return Some(if bound.is_finite() {
                    lower + (bound - lower) * inside
                } else {
                    lower
                });
            }
            (below, lower) = (count, bound);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: [f64; 6] = [0.001, 0.002, 0.005, 0.01, 0.02, f64::INFINITY];

    fn of(values: &[f64]) -> Distribution {
        let mut distribution = Distribution::default();
        for bound in BOUNDS {
            let count = values.iter().filter(|it| **it <= bound).count();
            distribution.add(bound, f64::from(u32::try_from(count).unwrap()));
        }
        distribution
    }

    fn bucket(value: f64) -> usize {
        BOUNDS.iter().position(|it| value <= *it).unwrap()
    }

    // mesh 12b: 54
    #[test]
    fn a_percentile_lies_in_the_bucket_of_the_true_one() {
        let mut random = base::Random::with_seed(7);
        for round in 0..500_u32 {
            let count = 1 + usize::try_from(round % 200).unwrap();
            let mut values: Vec<f64> = (0..count).map(|_| random.unit().powi(3) * 0.02).collect();
            values.sort_by(f64::total_cmp);
            for (share, percent) in [(0.5, 50), (0.95, 95), (0.99, 99)] {
                let truth = values[(percent * count).div_ceil(100).max(1) - 1];
                let told = of(&values).quantile(share).unwrap();
                assert_eq!(bucket(told), bucket(truth), "p{percent} of {count}: {told} {truth}");
            }
        }
    }

    #[test]
    fn within_a_bucket_values_are_taken_as_spread_evenly() {
        let distribution = of(&[0.003; 100]);
        assert!((distribution.quantile(0.5).unwrap() - 0.0035).abs() < 1e-9);
        assert!((distribution.quantile(1.0).unwrap() - 0.005).abs() < 1e-9);
    }

    #[test]
    fn nothing_has_no_percentile_and_the_largest_have_the_last_bound() {
        assert_eq!(of(&[]).quantile(0.5), None);
        assert_eq!(Distribution::default().quantile(0.5), None);
        assert_eq!(of(&[7.0]).quantile(0.99), Some(0.02));
    }

    #[test]
    fn labels_may_hold_anything() {
        let text = "# HELP mesh_a A.\nmesh_a{x=\"1\",y=\"a\\\"},\\\\b\\n\"} 2.5\nmesh_b 7\n\
                    other{x=\"1\"} 1\nmesh_broken{x=\"1\nmesh_c{} +Inf 123\n";
        let samples = parse(text, "mesh_");
        let told: Vec<_> = samples.iter().map(|it| (it.name.as_str(), it.value)).collect();
        assert_eq!(told, [("mesh_a", 2.5), ("mesh_b", 7.0), ("mesh_c", f64::INFINITY)]);
        assert_eq!((samples[0].label("x"), samples[0].label("y")), ("1", "a\"},\\b\n"));
        assert_eq!(samples[1].label("x"), "");
    }
}
