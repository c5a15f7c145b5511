//! Reading: from where, what foreigners wrote, while others write.

pub(super) mod flow;
pub(super) mod foreign;
pub(super) mod places;
