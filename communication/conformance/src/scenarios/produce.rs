//! Publishing: receipts, partitions, what survives, what is refused, numbers of producers.

pub(super) mod numbers;
pub(super) mod receipts;
pub(super) mod refusals;
pub(super) mod shapes;
