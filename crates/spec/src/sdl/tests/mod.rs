//! Tests of the SDL.

mod defects;
mod hostile;
mod orders;
mod values;
mod vectors;

use super::{Deployment, Exchange, parse_sdl};
use crate::{Checked, Defect};

/// A small SDL that is right in everything.
pub(super) const GOOD: &str = r#"version: "2.0"
services:
  web:
    image: nginx:1.27
    expose:
      - port: 80
        to:
          - global: true
profiles:
  compute:
    small:
      resources:
        cpu:
          units: 500m
        memory:
          size: 512Mi
        storage:
          size: 1Gi
  placement:
    west:
      pricing:
        small:
          denom: usd
          amount: 0.05
deployment:
  web:
    west:
      profile: small
      count: 2
"#;

/// [`GOOD`] with a part of it replaced, which must be there.
pub(super) fn with(part: &str, other: &str) -> String {
    assert!(GOOD.contains(part), "{part}");
    GOOD.replacen(part, other, 1)
}

pub(super) fn check(text: &str) -> Checked<Deployment> {
    parse_sdl(text.as_bytes(), &Exchange::default())
}

pub(super) fn good(text: &str) -> Deployment {
    match check(text).result {
        Ok(deployment) => deployment,
        Err(errors) => panic!("{}\n{text}", lines(&errors)),
    }
}

/// One line each: `4:12 services.web.image: is empty — fix: …`.
pub(super) fn lines(defects: &[Defect]) -> String {
    defects.iter().map(|defect| format!("{defect}\n")).collect()
}

#[test]
fn a_file_that_is_right_has_no_defects_and_no_warnings() {
    let checked = check(GOOD);
    assert!(checked.result.is_ok() && checked.warnings.is_empty(), "{checked:?}");
}
