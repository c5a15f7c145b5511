//! The Account service publishes nothing and subscribes to nothing.
//!
//! Its answer is asked for when it matters; whoever wants events of accounts finds the outbox in
//! the store and the relay in the service kit, as the Delivery service uses them.
