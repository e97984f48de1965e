//! The push messages on the wire.

use bytes::Bytes;
use pprof_proto::push::{LabelPair, PushRequest, PushResponse, RawProfileSeries, RawSample};
use prost::Message;

/// The bytes of a request, put together by hand from the server's definition.
#[test]
fn bytes_are_those_of_the_format() {
    let request = PushRequest {
        series: vec![RawProfileSeries {
            labels: vec![LabelPair {
                name: "a".into(),
                value: "bc".into(),
            }],
            samples: vec![RawSample {
                raw_profile: Bytes::from_static(b"pp"),
                id: "x".into(),
            }],
        }],
    };
    let golden = b"\x0a\x12\x0a\x07\x0a\x01a\x12\x02bc\x12\x07\x0a\x02pp\x12\x01x";
    assert_eq!(request.encode_to_vec(), golden);
    assert_eq!(PushRequest::decode(&golden[..]), Ok(request));
    assert_eq!(PushResponse {}.encoded_len(), 0);
}
