//! The Package service publishes nothing and subscribes to nothing.
//!
//! Nobody asked for package events yet; whoever does finds the outbox in the store and the relay in
//! the service kit, as the Delivery service uses them.
