//! The proxy from outside: what it makes of bytes, beside what others make of them.

#[cfg(test)]
mod authorization;
#[cfg(test)]
mod behaviour_breaker;
#[cfg(test)]
mod behaviour_door;
#[cfg(test)]
mod behaviour_flow;
#[cfg(test)]
mod behaviour_gone;
#[cfg(test)]
mod behaviour_h1;
#[cfg(test)]
mod behaviour_retry;
#[cfg(test)]
mod behaviour_words;
mod edge_access;
#[cfg(test)]
mod event_streams;
#[cfg(test)]
mod floods;
#[cfg(test)]
mod grpc;
#[cfg(test)]
mod h1_corpus;
#[cfg(test)]
mod h1_hyper;
#[cfg(test)]
mod h1_limits;
#[cfg(test)]
mod h1_probes;
#[cfg(test)]
mod h1_view;
#[cfg(test)]
mod http2;
#[cfg(test)]
mod identity;
#[cfg(test)]
mod identity_between;
#[cfg(test)]
mod rig;
#[cfg(test)]
mod stage;
#[cfg(test)]
mod tcp;
#[cfg(test)]
mod upgrade;
#[cfg(test)]
mod world;
