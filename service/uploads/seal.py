"""The last look at an upload: the verdict holds, the bytes are flushed and become a blob; and the track they make."""

from dataclasses import fields

from service.audio.inspector import AudioReport, Inspector, Verdict
from service.catalogue.tracks import NewTrack, title_of
from service.catalogue.uploads import Upload
from service.errors import DamagedAudio, DigestMismatch, InconsistentUploadLength
from service.storage.local import LocalBlobs
from service.storage.spool import Part

TRACK_MEMBERS = frozenset({"duration", "bitrate", "mode", "channels", "sample_rate"})
AUDIO_MEMBERS = tuple(each.name for each in fields(AudioReport) if each.name not in TRACK_MEMBERS)
"""The audio report without what is told of the track itself."""


def seal(upload: Upload, part: Part, inspector: Inspector, blobs: LocalBlobs, *, strict: bool) -> Verdict:
    """Judge the bytes, flush them, and make them a blob. Blocks; call it in a thread.

    Raises:
        Refused: the bytes are not what they should be; they still lie in the spool.
        OSError: the disk failed.
    """
    assert inspector.seen == part.offset, "an inspector sees every byte that is stored, once"
    verdict = inspector.finish()
    check(upload, verdict, strict=strict)
    part.sync()
    blobs.adopt(part.path, upload.upload_id)
    return verdict


def check(upload: Upload, verdict: Verdict, *, strict: bool) -> None:
    """Raise unless the bytes keep what was announced for them."""
    if upload.length is not None and verdict.size != upload.length:
        raise InconsistentUploadLength("The upload has another length than announced.", length=upload.length)
    if upload.claimed_sha256 is not None and verdict.sha256 != upload.claimed_sha256:
        raise DigestMismatch(
            "The upload does not match its digest.",
            algorithm="sha256",
            expected=upload.claimed_sha256.hex(),
            found=verdict.sha256.hex(),
        )
    audio = verdict.audio
    if strict and (audio.truncated or audio.gaps):
        raise DamagedAudio(
            "The mp3 is cut off or has other bytes between its frames.",
            truncated=audio.truncated,
            gaps=audio.gaps,
            junk_bytes=audio.junk_bytes,
        )


def track_of(upload: Upload, verdict: Verdict, track_id: str, *, now: int) -> NewTrack:
    """The track this upload becomes."""
    audio = verdict.audio
    return NewTrack(
        track_id=track_id,
        user_id=upload.user_id,
        key=upload.upload_id,
        sha256=verdict.sha256,
        size=verdict.size,
        filename=upload.filename,
        title=upload.title or title_of(upload.filename),
        given={"title": upload.title} if upload.title else {},
        duration=audio.duration,
        bitrate=audio.bitrate,
        mode=audio.mode,
        channels=audio.channels,
        sample_rate=audio.sample_rate,
        audio={name: getattr(audio, name) for name in AUDIO_MEMBERS},
        created_at=now,
    )
