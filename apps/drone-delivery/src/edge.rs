//! The public routes, and who answers them. What is not listed does not exist from outside.

use service_kit::Change;
use skein::gateway::PublicRoute;

/// The table of the gateway.
pub(crate) const ROUTES: [PublicRoute; 14] = [
    PublicRoute::change(Change::Post, "/api/deliveryrequests", INGESTION),
    PublicRoute::get("/api/deliveryrequests/{id}", INGESTION),
    PublicRoute::change(Change::Patch, "/api/deliveryrequests/{id}", INGESTION),
    PublicRoute::change(Change::Delete, "/api/deliveryrequests/{id}", INGESTION),
    PublicRoute::get("/api/deliveries/{id}", DELIVERY),
    PublicRoute::get("/api/deliveries/{id}/status", DELIVERY),
    PublicRoute::get("/api/deliveries/{id}/owner", DELIVERY),
    PublicRoute::get("/api/deliveries/{id}/events", DELIVERY),
    PublicRoute::get("/api/deliveries/summary", DELIVERY),
    PublicRoute::change(Change::Post, "/api/deliveries/{id}/notifymerequests", DELIVERY),
    PublicRoute::change(Change::Post, "/api/deliveries/{id}/confirmations", DELIVERY),
    PublicRoute::change(Change::Delete, "/api/deliveries/{id}/notifymerequests", DELIVERY),
    PublicRoute::get("/api/deliveryhistory/{id}", HISTORY),
    PublicRoute::get("/api/deliveryhistory", HISTORY),
];

const INGESTION: &str = "ingestion";
const DELIVERY: &str = "delivery";
const HISTORY: &str = "history";
