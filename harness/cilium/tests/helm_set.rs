//! `--set`, as Helm reads it.

use cilium::Values;
use serde_json::{Value, json};

fn set(argument: &str) -> Result<Value, String> {
    let mut values = Values::new();
    values.set(argument).map_err(|error| error.reason)?;
    Ok(serde_json::to_value(values).expect("values serialize"))
}

#[test]
fn accepted() {
    for (argument, tree) in [
        ("devices={enp0s6,tailscale0}", json!({"devices": ["enp0s6", "tailscale0"]})),
        (r"devices=enp0s6\,tailscale0", json!({"devices": "enp0s6,tailscale0"})),
        ("devices=enp0s6", json!({"devices": "enp0s6"})),
        ("devices=enp0s6 tailscale0", json!({"devices": "enp0s6 tailscale0"})),
        ("devices={enp+, tailscale+}", json!({"devices": ["enp+", " tailscale+"]})),
        ("devices=", json!({"devices": ""})),
        ("devices=null", json!({"devices": null})),
        ("devices={}", json!({"devices": [""]})),
        ("bpf.masquerade=true", json!({"bpf": {"masquerade": true}})),
        ("a.b=1,a.c=x", json!({"a": {"b": 1, "c": "x"}})),
        ("MTU=1500", json!({"MTU": 1500})),
        ("MTU=0", json!({"MTU": 0})),
        ("id=007", json!({"id": "007"})),
        ("id=-3", json!({"id": -3})),
        ("version=1.18", json!({"version": "1.18"})),
        ("kubeProxyReplacement=True", json!({"kubeProxyReplacement": true})),
        ("kubeProxyReplacement=strict", json!({"kubeProxyReplacement": "strict"})),
        (r"nodeSelector.a\.b/c=d", json!({"nodeSelector": {"a.b/c": "d"}})),
        ("list[1]=x", json!({"list": [null, "x"]})),
        ("list[0].name=x,list[0].value=y", json!({"list": [{"name": "x", "value": "y"}]})),
        ("a={x,1,true},b=c", json!({"a": ["x", 1, true], "b": "c"})),
        ("a=b=c", json!({"a": "b=c"})),
        ("", json!({})),
    ] {
        assert_eq!(set(argument), Ok(tree), "--set {argument}");
    }
}

#[test]
fn refused_in_helms_words() {
    for (argument, says) in [
        ("devices=enp0s6,tailscale0", r#"key "tailscale0" has no value"#),
        ("devices", r#"key "devices" has no value"#),
        ("devices,a=b", r#"key "devices" has no value (cannot end with ,)"#),
        ("devices={enp0s6,tailscale0", "list must terminate with '}'"),
        ("a[x]=1", r#"error parsing index: strconv.Atoi: parsing "x": invalid syntax"#),
        ("a[-1]=1", "negative -1 index not allowed"),
        ("a[65537]=1", "index of 65537 is greater than maximum supported index of 65536"),
        ("a[0]b=1", r#"unexpected data at end of array index: "b""#),
    ] {
        assert_eq!(set(argument), Err(says.to_owned()), "--set {argument}");
    }
    let deep = format!("{}=x", vec!["a"; 40].join("."));
    assert!(set(&deep).expect_err("40 levels").contains("maximum supported nested level of 30"));
}

#[test]
fn the_error_names_the_argument() {
    let error = Values::new().set("devices=enp0s6,tailscale0").expect_err("a bare comma");
    assert_eq!(
        error.to_string(),
        "failed parsing --set data: key \"tailscale0\" has no value (in `--set devices=enp0s6,tailscale0`)"
    );
}

#[test]
fn text_stays_text() {
    let mut values = Values::new();
    values.set_string("a=true,b=1,c=null,d={1,2}").expect("valid");
    assert_eq!(serde_json::to_value(values).unwrap(), json!({"a": "true", "b": "1", "c": "null", "d": ["1", "2"]}));
}

#[test]
fn later_wins_and_null_deletes() {
    let mut values = Values::new();
    values.set("devices={enp0s6},bpf.masquerade=true,bpf.root=/x").expect("valid");
    values.set("devices=tailscale0").expect("valid");
    values.set("bpf.masquerade=null").expect("valid");
    assert_eq!(values.get("devices"), Some(&json!("tailscale0")));
    assert_eq!(values.get("bpf.masquerade"), None);
    assert_eq!(values.get("bpf.root"), Some(&json!("/x")));
}

#[test]
fn memory_is_bounded() {
    let greedy: Vec<_> = (0..100_000).map(|n| format!("k{n}[65536]=1")).collect();
    assert!(set(&greedy.join(",")).expect_err("too much").contains("elements"));
}
