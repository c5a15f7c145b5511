//! What a package is and how a request changes it. Pure: no clock, no I/O.

use contracts::{Body, Fault, Members, PackageSize};
use serde::Serialize;
use utoipa::ToSchema;

/// Kilograms; past it the number is a mistake.
const WEIGHT_KG_MAX: f64 = 1_000_000.0;

/// A package, as clients read it.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct Package {
    /// Chosen by the client, or made up here.
    pub(crate) id: String,
    /// Size class.
    pub(crate) size: PackageSize,
    /// Kilograms; 0 when the client did not say.
    pub(crate) weight: f64,
    /// Anything the client wants to find it by.
    pub(crate) tag: String,
}

/// What a request says about a package; what it leaves out stays, or takes its default.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct PackageChange {
    pub(crate) size: Option<PackageSize>,
    pub(crate) weight: Option<f64>,
    pub(crate) tag: Option<String>,
    /// The account that ships it.
    pub(crate) owner_id: Option<String>,
    /// The delivery that refers to it; none for a client that registers it by hand.
    pub(crate) delivery_id: Option<String>,
}

/// An id of the form that the original's database made: 24 hexadecimal digits, seconds first.
pub(crate) fn object_id(unix_seconds: u64, noise: u64) -> String {
    format!("{:08x}{noise:016x}", unix_seconds & 0xffff_ffff)
}

impl PackageChange {
    /// Reads a request; unknown members are ignored.
    pub(crate) fn read(body: &Body<'_>) -> Result<Self, Vec<Fault>> {
        let members = body.members();
        let read = Self {
            size: members.get("size").map(|_| members.word("size")),
            weight: weight(&members),
            tag: members.optional_text("tag"),
            owner_id: members.optional_name("ownerId"),
            delivery_id: members.optional_name("deliveryId"),
        };
        body.finish(read)
    }

    /// The package that a request without one before it makes.
    pub(crate) fn into_package(self, id: String) -> Package {
        Package {
            id,
            size: self.size.unwrap_or_default(),
            weight: self.weight.unwrap_or_default(),
            tag: self.tag.unwrap_or_default(),
        }
    }

    /// The package after a request that changes only what it names.
    pub(crate) fn merge_into(self, package: Package) -> Package {
        Package {
            id: package.id,
            size: self.size.unwrap_or(package.size),
            weight: self.weight.unwrap_or(package.weight),
            tag: self.tag.unwrap_or(package.tag),
        }
    }
}

/// Zero is allowed: the original's clients leave the weight out, and its default is 0.
fn weight(members: &Members<'_>) -> Option<f64> {
    let weight = members.optional_number("weight")?;
    if !(0.0..=WEIGHT_KG_MAX).contains(&weight) {
        members.fault("weight", "kilograms are expected, from 0 to 1000000");
    }
    Some(weight)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_request_leaves_out_takes_the_original_s_default() {
        let body = json!({"packageId": "ignored"});
        let package = PackageChange::read(&Body::new(&body)).unwrap().into_package("p".to_owned());
        let expected = Package {
            id: "p".to_owned(),
            size: PackageSize::Small,
            weight: 0.0,
            tag: String::new(),
        };
        assert_eq!(package, expected);
    }

    #[test]
    fn a_merge_changes_only_what_is_named() {
        let change = PackageChange { weight: Some(12.0), ..PackageChange::default() };
        let before = Package {
            id: "p".to_owned(),
            size: PackageSize::Large,
            weight: 11.0,
            tag: "t".to_owned(),
        };
        let after = change.merge_into(before.clone());
        assert_eq!(after, Package { weight: 12.0, ..before });
    }

    #[test]
    fn members_that_are_wrong_are_named() {
        let body = json!({"size": "Gigantic", "weight": -1, "tag": 7});
        let faults = PackageChange::read(&Body::new(&body)).unwrap_err();
        let pointers: Vec<_> = faults.iter().map(|it| it.pointer.as_str()).collect();
        assert_eq!(pointers, ["/size", "/weight", "/tag"]);
    }

    #[test]
    fn an_id_that_is_made_up_looks_like_the_original_s() {
        assert_eq!(object_id(0x6650_0000, 7), "665000000000000000000007");
    }
}
