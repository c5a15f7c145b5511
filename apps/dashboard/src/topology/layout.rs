//! Where each service stands in the picture: in layers from left to right, each to the right of all
//! that call it. The same services and calls give the same picture.

use std::collections::{BTreeMap, BTreeSet};

/// A place in the picture, both numbers from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) layer: usize,
    pub(super) row: usize,
}

/// Places of all that call or are called. Services that call each other in a circle stand apart all
/// the same: one of them goes first, and its caller is to the right of it.
pub(super) fn layout<'a>(
    edges: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> BTreeMap<&'a str, Place> {
    let edges: BTreeSet<_> = edges.into_iter().collect();
    let mut callers = BTreeMap::<&str, BTreeSet<&str>>::new();
    for (source, destination) in edges {
        callers.entry(source).or_default();
        let callers = callers.entry(destination).or_default();
        if source != destination {
            callers.insert(source);
        }
    }
    let mut places = BTreeMap::<&str, Place>::new();
    for layer in 0.. {
        let mut next = ready(&callers, &places);
        if next.is_empty() {
            break;
        }
        // Near its callers, so that fewer lines cross; between equals the name decides.
        next.sort_by(|one, other| {
            let middle = |it: &str| mean_row(&callers[it], &places);
            middle(one).total_cmp(&middle(other)).then_with(|| one.cmp(other))
        });
        places.extend(next.into_iter().enumerate().map(|(row, it)| (it, Place { layer, row })));
    }
    places
}

/// Who is to be placed next: all whose callers have places, else one of a circle, better one that
/// was called from outside of it.
fn ready<'a>(
    callers: &BTreeMap<&'a str, BTreeSet<&'a str>>,
    places: &BTreeMap<&'a str, Place>,
) -> Vec<&'a str> {
    let has_place = |it: &&str| places.contains_key(*it);
    let open: Vec<_> = callers.iter().filter(|(name, _)| !has_place(name)).collect();
    let free = open.iter().filter(|(_, callers)| callers.iter().all(has_place));
    let free: Vec<_> = free.map(|(name, _)| **name).collect();
    if !free.is_empty() {
        return free;
    }
    let entered = open.iter().find(|(_, callers)| callers.iter().any(has_place));
    entered.or_else(|| open.first()).map(|(name, _)| **name).into_iter().collect()
}

fn mean_row(callers: &BTreeSet<&str>, places: &BTreeMap<&str, Place>) -> f64 {
    let rows = callers.iter().filter_map(|it| u32::try_from(places.get(it)?.row).ok());
    let (sum, count) =
        rows.fold((0.0, 0.0), |(sum, count), row| (sum + f64::from(row), count + 1.0));
    if count > 0.0 { sum / count } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(edges: &[(&str, &str)], expected: &[&[&str]]) {
        let mut layers = Vec::<Vec<&str>>::new();
        let mut placed: Vec<_> = layout(edges.iter().copied()).into_iter().collect();
        placed.sort_by_key(|(_, it)| (it.layer, it.row));
        for (name, place) in placed {
            layers.resize(layers.len().max(place.layer + 1), Vec::new());
            layers[place.layer].push(name);
            assert_eq!(layers[place.layer].len(), place.row + 1);
        }
        assert_eq!(layers, expected);
    }

    #[test]
    fn who_is_called_stands_to_the_right_of_all_its_callers() {
        check(&[("a", "b"), ("b", "c"), ("a", "c")], &[&["a"], &["b"], &["c"]]);
        check(&[("b", "c"), ("a", "c")], &[&["a", "b"], &["c"]]);
        check(&[], &[]);
    }

    #[test]
    fn who_is_called_stands_near_its_callers() {
        let edges = [("a", "z"), ("b", "y"), ("c", "x")];
        check(&edges, &[&["a", "b", "c"], &["z", "y", "x"]]);
    }

    #[test]
    fn a_circle_is_entered_where_it_is_called_and_a_call_of_oneself_is_none() {
        check(&[("b", "c"), ("c", "b")], &[&["b"], &["c"]]);
        check(&[("a", "c"), ("b", "c"), ("c", "b")], &[&["a"], &["c"], &["b"]]);
        check(&[("a", "a"), ("a", "b")], &[&["a"], &["b"]]);
    }

    #[test]
    fn the_order_of_the_edges_changes_nothing() {
        let mut edges =
            vec![("a", "b"), ("a", "c"), ("c", "d"), ("b", "d"), ("d", "a"), ("e", "a")];
        let expected = format!("{:?}", layout(edges.iter().copied()));
        edges.reverse();
        assert_eq!(format!("{:?}", layout(edges)), expected);
    }
}
