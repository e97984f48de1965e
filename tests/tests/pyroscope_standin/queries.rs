//! What is stored comes back.

use super::*;

fn query(server: &Pyroscope, procedure: &str, body: Value) -> Reply {
    let path = format!("/querier.v1.QuerierService/{procedure}");
    send(
        server,
        "POST",
        &path,
        "content-type: application/json\r\n",
        body.to_string().as_bytes(),
    )
}

/// What was pushed in two profiles is summed in the flame graph and whole in the merged profile.
#[test]
fn pushed_stacks_are_read_back() {
    let server = Pyroscope::start();
    for value in [100, 200] {
        let stacks = [
            ("root;mid", value),
            ("root;mid;leaf", 250),
            ("root;other_leaf", 25),
        ];
        assert_eq!(push(&server, plain_labels(), &profile(&stacks)).status, 200);
    }
    let end = now_nanos() / 1_000_000;
    let start = end - 300_000;
    let range = |mut body: Value| {
        body["start"] = json!(start.to_string());
        body["end"] = json!(end);
        body
    };
    let types = query(&server, "ProfileTypes", range(json!({}))).json();
    assert_eq!(types["profileTypes"][0]["ID"], CPU);

    let wanted = ["service_name", "__profile_type__"];
    let found = query(
        &server,
        "Series",
        range(json!({ "matchers": [], "labelNames": wanted })),
    )
    .json();
    let type_label = json!({ "name": "__profile_type__", "value": CPU });
    let service_label = json!({ "name": "service_name", "value": "app" });
    assert_eq!(
        found,
        json!({ "labelsSet": [{ "labels": [type_label, service_label] }] })
    );

    let selection = json!({ "profileTypeID": CPU, "labelSelector": "{service_name=\"app\"}" });
    let graph = query(&server, "SelectMergeStacktraces", range(selection)).json();
    assert_eq!(graph["flamegraph"]["total"], "850");
    assert_eq!(
        graph["flamegraph"]["levels"][3]["values"],
        json!(["300", "500", "500", "4"])
    );

    let message = SelectMergeProfileRequest {
        profile_type_id: CPU.into(),
        label_selector: "{service_name=\"app\"}".into(),
        start,
        end,
    };
    let path = "/querier.v1.QuerierService/SelectMergeProfile";
    let reply = send(
        &server,
        "POST",
        path,
        "content-type: application/proto\r\n",
        &message.encode_to_vec(),
    );
    let merged = Profile::decode(reply.body.as_slice()).unwrap();
    let total: i64 = merged.sample.iter().map(|sample| sample.value[0]).sum();
    assert_eq!((reply.status, merged.sample.len(), total), (200, 6, 850));
    let other = json!({ "profileTypeID": CPU, "labelSelector": "{service_name=\"other\"}" });
    let nothing = query(&server, "SelectMergeStacktraces", range(other)).json();
    assert_eq!(nothing["flamegraph"]["names"], json!(["total"]));
}

/// Queries that the server refuses.
#[test]
fn query_rules() {
    let server = Pyroscope::start();
    let select = |id: &str, selector: &str, start: i64| {
        let body =
            json!({ "profileTypeID": id, "labelSelector": selector, "start": start, "end": 10 });
        query(&server, "SelectMergeStacktraces", body).status
    };
    assert_eq!(select(CPU, "{}", 0), 200);
    assert_eq!(select("cpu", "{}", 0), 400);
    assert_eq!(select(CPU, "", 0), 400);
    assert_eq!(select(CPU, "{}", 11), 400);
    assert_eq!(
        send(
            &server,
            "GET",
            "/querier.v1.QuerierService/ProfileTypes",
            "",
            b""
        )
        .status,
        405
    );
    assert_eq!(send(&server, "GET", "/ready", "", b"").body, b"ready");
}
