//! The decisions of the mesh against tables of cases.

#[cfg(test)]
mod routing;
#[cfg(test)]
mod routing_filters;
#[cfg(test)]
mod routing_paths;
#[cfg(test)]
mod routing_request;
