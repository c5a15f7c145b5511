//! Pairs of proxies, one beside the caller and one beside the service, with mutual TLS between them.

use std::path::Path;

use super::known::Known;
use crate::bench::programs::{built, on_path, site_packages};

const ENVOY: [&str; 5] = ["--concurrency", "1", "--disable-hot-restart", "--log-level", "error"];

pub(super) fn peers(wheels: &Path) -> Vec<Known> {
    let haproxy = |name, processes, templates| Known {
        name,
        places: on_path("haproxy"),
        version: &["-v"],
        processes,
        environment: Vec::new(),
        templates,
    };
    vec![
        haproxy(
            "haproxy",
            &[
                &["-db", "-f", "{{folder}}/haproxy.inner.cfg"],
                &["-db", "-f", "{{folder}}/haproxy.outer.cfg"],
            ],
            &["tls/haproxy.inner.cfg", "tls/haproxy.outer.cfg"],
        ),
        haproxy(
            "haproxy-h2",
            &[
                &["-db", "-f", "{{folder}}/haproxy.inner.cfg"],
                &["-db", "-f", "{{folder}}/haproxy-h2.outer.cfg"],
            ],
            &["tls/haproxy.inner.cfg", "tls/haproxy-h2.outer.cfg"],
        ),
        Known {
            name: "nginx",
            places: on_path("nginx"),
            version: &["-v"],
            processes: &[
                &["-e", "{{folder}}/inner.log", "-c", "{{folder}}/nginx.inner.conf"],
                &["-e", "{{folder}}/outer.log", "-c", "{{folder}}/nginx.outer.conf"],
            ],
            environment: Vec::new(),
            templates: &["tls/nginx.inner.conf", "tls/nginx.outer.conf"],
        },
        Known {
            name: "envoy",
            places: vec![site_packages(wheels).join("envoy/_bin/envoy")],
            version: &["--version"],
            processes: &[
                &[
                    "--config-path",
                    "{{folder}}/envoy.inner.yaml",
                    ENVOY[0],
                    ENVOY[1],
                    ENVOY[2],
                    ENVOY[3],
                    ENVOY[4],
                ],
                &[
                    "--config-path",
                    "{{folder}}/envoy.outer.yaml",
                    ENVOY[0],
                    ENVOY[1],
                    ENVOY[2],
                    ENVOY[3],
                    ENVOY[4],
                ],
            ],
            environment: Vec::new(),
            templates: &["tls/envoy.inner.yaml", "tls/envoy.outer.yaml"],
        },
    ]
}

/// The authority counts as part of the pair.
pub(super) fn ours(target: &Path) -> Known {
    Known {
        name: "skein",
        places: vec![built(target, "skein")],
        version: &["--version"],
        processes: &[
            &["authority", "--data", "{{folder}}/ca"],
            &["proxy", "--config", "{{folder}}/skein.inner.yaml"],
            &["proxy", "--config", "{{folder}}/skein.outer.yaml"],
        ],
        environment: Vec::new(),
        templates: &["tls/skein.inner.yaml", "tls/skein.outer.yaml", "tls/skein.routes.yaml"],
    }
}
