//! The attacks of RFC 8725, against each signer.

use ring::{
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
        RSA_PKCS1_SHA256, RsaKeyPair, RsaPublicKeyComponents,
    },
};
use serde_json::json;

use super::*;
use crate::{base64url::encode, signers::Signers};

const NOW_S: i64 = 1_800_000_000;

/// Everything that signs for the issuer of these tests.
struct Keys {
    p256: EcdsaKeyPair,
    ed25519: Ed25519KeyPair,
    rsa: RsaKeyPair,
}

impl Keys {
    fn new() -> Self {
        let random = SystemRandom::new();
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let p256 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        let ed25519 = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
        Self {
            p256: EcdsaKeyPair::from_pkcs8(algorithm, p256.as_ref(), &random).unwrap(),
            ed25519: Ed25519KeyPair::from_pkcs8(ed25519.as_ref()).unwrap(),
            rsa: RsaKeyPair::from_pkcs8(include_bytes!("../../data/rsa-2048-for-tests.pk8"))
                .unwrap(),
        }
    }

    fn set(&self) -> Value {
        let point = self.p256.public_key().as_ref();
        let rsa = RsaPublicKeyComponents::<Vec<u8>>::from(self.rsa.public_key());
        json!({"keys": [
            {"kty": "EC", "crv": "P-256", "kid": "p", "use": "sig",
                "x": encode(&point[1..33]), "y": encode(&point[33..])},
            {"kty": "OKP", "crv": "Ed25519", "kid": "ed", "x": encode(self.ed25519.public_key().as_ref())},
            {"kty": "RSA", "kid": "r", "alg": "RS256", "n": encode(&rsa.n), "e": encode(&rsa.e)},
            {"kty": "oct", "kid": "o", "k": "c2VjcmV0"},
        ]})
    }

    fn issuers(&self) -> Vec<Issuer> {
        vec![Issuer {
            name: "https://who.example".to_owned(),
            audience: "shop".to_owned(),
            roles_claim: "roles".to_owned(),
            roles: vec!["customer".parse().unwrap()],
            signers: Signers::read(&self.set().to_string()).unwrap(),
        }]
    }

    fn sign(&self, kid: &str, message: &str) -> Vec<u8> {
        let (random, message) = (SystemRandom::new(), message.as_bytes());
        match kid {
            "p" => self.p256.sign(&random, message).unwrap().as_ref().to_vec(),
            "ed" => self.ed25519.sign(message).as_ref().to_vec(),
            _ => {
                let mut signature = vec![0; self.rsa.public().modulus_len()];
                self.rsa.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).unwrap();
                signature
            }
        }
    }

    /// A token that this signer signs, whatever its head says.
    fn token(&self, head: &Value, claims: &Value, signer: &str) -> String {
        let message = format!(
            "{}.{}",
            encode(head.to_string().as_bytes()),
            encode(claims.to_string().as_bytes())
        );
        format!("{message}.{}", encode(&self.sign(signer, &message)))
    }

    #[track_caller]
    fn check(&self, token: &str, expected: Result<&str, Refused>) {
        let read = verify(token, &self.issuers(), Timestamp::from_millis(NOW_S * 1_000));
        let read = read.map(|it| it.name.as_str().to_owned());
        assert_eq!(read, expected.map(str::to_owned));
    }
}

fn claims() -> Value {
    json!({"iss": "https://who.example", "aud": "shop", "sub": "alice", "exp": NOW_S + 300})
}

fn with(mut claims: Value, name: &str, value: Value) -> Value {
    claims[name] = value;
    claims
}

#[test]
fn a_token_of_each_algorithm_on_the_list_is_believed() {
    let keys = Keys::new();
    for (alg, kid) in [("ES256", "p"), ("EdDSA", "ed"), ("RS256", "r")] {
        let token = keys.token(&json!({"alg": alg, "kid": kid, "typ": "JWT"}), &claims(), kid);
        keys.check(&token, Ok("alice"));
    }
}

#[test]
fn the_algorithm_is_the_signers_and_none_and_symmetric_ones_are_nobodys() {
    let keys = Keys::new();
    for alg in ["none", "None", "nOnE", "HS256", "HS512", "ES384", "PS256", "RS1", "", "es256"] {
        let token = keys.token(&json!({"alg": alg, "kid": "p"}), &claims(), "p");
        keys.check(&token, Err(Refused::Algorithm));
        let unsigned = format!("{}.", token.rsplit_once('.').unwrap().0);
        keys.check(&unsigned, Err(Refused::Algorithm));
    }
    // A key of one kind under the name of another.
    for (alg, kid) in [("RS256", "p"), ("ES256", "r"), ("EdDSA", "p"), ("ES256", "ed")] {
        let token = keys.token(&json!({"alg": alg, "kid": kid}), &claims(), kid);
        keys.check(&token, Err(Refused::Algorithm));
    }
    // What is signed with a public key as a secret has no algorithm here that could check it.
    let token = keys.token(&json!({"alg": "HS256", "kid": "o"}), &claims(), "p");
    keys.check(&token, Err(Refused::Algorithm));
    let token = keys.token(&json!({"alg": "ES256", "kid": "o"}), &claims(), "p");
    keys.check(&token, Err(Refused::Signer));
}

#[test]
fn a_signer_is_known_by_its_name_alone_and_a_key_in_the_token_is_not_looked_at() {
    let keys = Keys::new();
    for kid in ["", "P", "../../etc/passwd", "/dev/null", "p' OR '1'='1", "p\0", "https://evil/p"] {
        let token = keys.token(&json!({"alg": "ES256", "kid": kid}), &claims(), "p");
        keys.check(&token, Err(Refused::Signer));
    }
    let token = keys.token(&json!({"alg": "ES256"}), &claims(), "p");
    keys.check(&token, Err(Refused::Signer));
    let (mine, theirs) = (Keys::new(), keys);
    let head = json!({"alg": "ES256", "kid": "p", "jku": "https://evil/set",
        "jwk": mine.set()["keys"][0], "x5u": "https://evil/c"});
    theirs.check(&mine.token(&head, &claims(), "p"), Err(Refused::Signature));
}

#[test]
fn what_was_changed_after_it_was_signed_is_refused() {
    let keys = Keys::new();
    for (alg, kid) in [("ES256", "p"), ("EdDSA", "ed"), ("RS256", "r")] {
        let token = keys.token(&json!({"alg": alg, "kid": kid}), &claims(), kid);
        let mut parts = token.split('.');
        let (head, signature) = (parts.next().unwrap(), parts.nth(1).unwrap());
        let other = encode(with(claims(), "sub", json!("bob")).to_string().as_bytes());
        keys.check(&format!("{head}.{other}.{signature}"), Err(Refused::Signature));
        keys.check(&format!("{token}AAAA"), Err(Refused::Signature));
        keys.check(&format!("{token}="), Err(Refused::Malformed));
        keys.check(token.rsplit_once('.').unwrap().0, Err(Refused::Malformed));
    }
}

#[test]
fn a_token_is_for_us_of_whom_we_know_and_for_now() {
    let keys = Keys::new();
    let check = |name: &str, value: Value, expected| {
        let claims = with(claims(), name, value);
        keys.check(&keys.token(&json!({"alg": "EdDSA", "kid": "ed"}), &claims, "ed"), expected);
    };
    check("iss", json!("https://who.example/"), Err(Refused::Issuer));
    check("iss", json!(7), Err(Refused::Malformed));
    check("aud", json!("shop2"), Err(Refused::Audience));
    check("aud", json!([]), Err(Refused::Audience));
    check("aud", Value::Null, Err(Refused::Audience));
    check("aud", json!(["other", "shop"]), Ok("alice"));
    check("exp", Value::Null, Err(Refused::Expired));
    check("exp", json!(NOW_S - 60), Err(Refused::Expired));
    check("exp", json!(NOW_S - 59), Ok("alice"));
    check("exp", json!("never"), Err(Refused::Malformed));
    check("exp", json!(1e300), Ok("alice"));
    check("nbf", json!(NOW_S + 61), Err(Refused::NotYet));
    check("nbf", json!(NOW_S + 60), Ok("alice"));
    check("sub", Value::Null, Err(Refused::Subject));
    check("sub", json!("a\r\nskein-roles: operator"), Err(Refused::Subject));
    check("roles", json!(7), Err(Refused::Subject));
    check("roles", json!(vec!["x"; 33]), Err(Refused::Subject));
}

#[test]
fn roles_are_those_claimed_and_else_those_of_the_issuer() {
    let keys = Keys::new();
    let roles = |claimed: Value| {
        let claims = with(claims(), "roles", claimed);
        let token = keys.token(&json!({"alg": "ES256", "kid": "p"}), &claims, "p");
        let now = Timestamp::from_millis(NOW_S * 1_000);
        let read = verify(&token, &keys.issuers(), now).unwrap().roles;
        read.iter().map(|it| it.as_str().to_owned()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(roles(Value::Null), "customer");
    assert_eq!(roles(json!([])), "");
    assert_eq!(roles(json!(["operator", "Not A Role", 7])), "operator");
    assert_eq!(roles(json!("auditor  customer")), "auditor customer");
}

#[test]
fn an_extension_that_must_be_understood_is_not() {
    let keys = Keys::new();
    for head in [
        json!({"alg": "ES256", "kid": "p", "crit": ["exp"]}),
        json!({"alg": "ES256", "kid": "p", "b64": false, "crit": ["b64"]}),
        json!({"alg": "ES256", "kid": "p", "b64": true}),
    ] {
        keys.check(&keys.token(&head, &claims(), "p"), Err(Refused::Extension));
    }
}

#[test]
fn what_is_no_token_is_refused() {
    let keys = Keys::new();
    let twice = format!(
        "{}.{}",
        encode(br#"{"alg":"none","alg":"ES256","kid":"p"}"#),
        encode(claims().to_string().as_bytes())
    );
    let twice = format!("{twice}.{}", encode(&keys.sign("p", &twice)));
    keys.check(&twice, Err(Refused::Malformed));
    for text in ["", ".", "..", "a.b", "a.b.c", "e30.e30.", "e30.e30.AA", &"a".repeat(1 << 20)] {
        keys.check(text, Err(Refused::Malformed));
    }
}
