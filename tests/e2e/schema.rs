//! Checks answers against the published schema files.

use serde_json::{Value, json};

/// Both published variants.
fn schemas() -> &'static [Value] {
    ::api::published_schemas()
}

/// What a client of either variant would stumble over: properties that are not of the schema's type.
pub fn stumbles(definition: &str, value: &Value) -> Vec<String> {
    let mut all = Vec::new();
    for schema in schemas().iter().filter(|schema| schema["definitions"].get(definition).is_some()) {
        let mut wrapped =
            json!({ "$schema": "http://json-schema.org/draft-04/schema#", "$ref": format!("#/definitions/{definition}") });
        wrapped["definitions"] = schema["definitions"].clone();
        let validator = jsonschema::draft4::new(&wrapped).unwrap_or_else(|e| panic!("{definition}: {e}"));
        let errors = validator.iter_errors(value).map(|e| format!("{}: {e}", e.instance_path()));
        all.extend(errors.filter(|e| !EXCEPTIONS.iter().any(|x| e.starts_with(x))));
    }
    all
}

/// Every property of `definition` that `value` has must be of the schema's type, and every property of the plain
/// version 3 schema must be there.
pub fn check(definition: &str, value: &Value) {
    assert!(schemas().iter().any(|schema| schema["definitions"].get(definition).is_some()), "no {definition} in the schemas");
    let errors = stumbles(definition, value);
    assert!(errors.is_empty(), "{definition}: {errors:?}\n{value:#}");
    let plain = &schemas()[1]["definitions"][definition]["properties"];
    for name in plain.as_object().into_iter().flatten().map(|(name, _)| name) {
        assert!(value.get(name).is_some() || OPTIONAL.contains(&name.as_str()), "{definition}.{name} is missing in {value:#}");
    }
}

/// Patterns that name the service's own hosts, a host name that is to be a URI, and a property that the two variants type differently (an object is what
/// clients read, `platform-api.md` section 13).
const EXCEPTIONS: &[&str] = &["/git_url: ", "/web_url: ", "/generation: ", "/hostname: ", "/provider/region: "];

/// Properties of products that are not offered here.
const OPTIONAL: &[&str] = &[
    "acknowledged_msa",
    "acknowledged_msa_at",
    "country_of_residence",
    "eco_dynos_enabled",
    "eco_dynos_shutdown_at",
    "italian_customer_terms",
    "italian_partner_terms",
    "mfa_enabled",
    "mfa_exemption",
    "mfa_exemption_reason",
    "mfa_experience",
    "pipeline_cost_consent_at",
    "base_image_name",
    "buildpacks",
    "current_build_architecture",
    "oci_image",
    "labs",
    "deleted_at",
    "generation",
];

pub fn check_list(definition: &str, value: &Value) {
    let items = value.as_array().unwrap_or_else(|| panic!("no list: {value}"));
    assert!(!items.is_empty(), "{definition}: an empty list proves nothing");
    items.iter().for_each(|item| check(definition, item));
}
