//! Each row of the OWASP API Security Top 10 (2023) has a test at the edge that is named after it.

use crate::tree::{files, text};

const RISKS: [&str; 10] = [
    "api1_broken_object_level_authorization",
    "api2_broken_authentication",
    "api3_broken_object_property_level_authorization",
    "api4_unrestricted_resource_consumption",
    "api5_broken_function_level_authorization",
    "api6_unrestricted_access_to_sensitive_business_flows",
    "api7_server_side_request_forgery",
    "api8_security_misconfiguration",
    "api9_improper_inventory_management",
    "api10_unsafe_consumption_of_apis",
];

/// The risks without a test.
fn untried(sources: &[String]) -> Vec<&'static str> {
    let is_tried = |risk: &&str| {
        let beginning = format!("#[tokio::test]\nasync fn {risk}_");
        sources.iter().any(|it| it.contains(&beginning))
    };
    RISKS.into_iter().filter(|it| !is_tried(it)).collect()
}

#[test]
fn each_risk_has_a_test_under_its_name() {
    let sources: Vec<String> =
        files("tests/system/tests/it").iter().filter_map(|it| text(it)).collect();
    assert_eq!(untried(&sources), [""; 0]);
}

#[test]
fn a_risk_without_a_test_is_found() {
    let all = RISKS[1..].iter().map(|it| format!("#[tokio::test]\nasync fn {it}_so() {{}}\n"));
    let commented = format!("// async fn {}_so() {{}}", RISKS[0]);
    let sources: Vec<String> = all.chain([commented]).collect();
    assert_eq!(untried(&sources), [RISKS[0]]);
}
