//! What is spoken here, as the first question of a client is answered.

use bytes::Bytes;
use kafka_wire::{
    API_VERSIONS_FLEXIBLE, ErrorCode, SUPPORTED, Writer,
    messages::{ApiVersion, ApiVersionsResponse},
    response,
};

/// To who asks in a version that is not spoken: in the lowest, which he falls back to.
pub(crate) fn unsupported(correlation_id: i32) -> Bytes {
    response(correlation_id, 0, &spoken(ErrorCode::UnsupportedVersion))
}

fn spoken(error: ErrorCode) -> ApiVersionsResponse {
    let api = |it: &kafka_wire::Versions| ApiVersion {
        api_key: it.api.key(),
        min_version: it.min,
        max_version: it.max,
    };
    ApiVersionsResponse { error, apis: SUPPORTED.iter().map(api).collect(), throttle_ms: 0 }
}

/// What is spoken, to who asks in this version.
pub(crate) fn answer(correlation_id: i32, version: i16) -> Bytes {
    let answer = spoken(ErrorCode::None);
    if version < API_VERSIONS_FLEXIBLE {
        return response(correlation_id, version, &answer);
    }
    // The flexible form: counts are one more, in a varint, and each part ends with tagged fields,
    // of which there are none. The head stays in the old form, so that any client can read it.
    let mut writer = Writer::frame();
    writer.i32(correlation_id);
    writer.i16(answer.error.code());
    writer.i8(i8::try_from(answer.apis.len() + 1).unwrap_or(i8::MAX));
    for api in &answer.apis {
        writer.i16(api.api_key);
        writer.i16(api.min_version);
        writer.i16(api.max_version);
        writer.i8(0);
    }
    writer.i32(0);
    writer.i8(0);
    writer.finish()
}
