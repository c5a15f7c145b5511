//! The service on free ports of its own.

#[cfg(test)]
mod conformance;
#[cfg(test)]
mod erasing;
#[cfg(test)]
mod fixture;
#[cfg(test)]
mod invoices;
#[cfg(test)]
mod paging;
