"""The curl door: ``curl -T song.mp3 …/spool/`` (curl appends the file's name)."""

from aiohttp import web

from service.uploads.model import NewUpload
from service.views.receipts import receipt
from service.views.receiving import body_of, judge_upload, take_whole
from service.web.expect import judged
from service.web.identity import require


class Spool(web.View):
    """A file by its name. The name is display text: two uploads of one name are two tracks."""

    async def put(self) -> web.StreamResponse:
        """Take the body as one mp3; 201 is its receipt."""
        await judged(self.request, judge_upload)
        identity = await require(self.request, "upload")
        body = body_of(self.request)
        new = NewUpload(self.request.match_info["filename"], length=self.request.content_length)
        row = await take_whole(self.request.app, identity.user_id, body, self.request.headers, new)
        return receipt(self.request, row)
