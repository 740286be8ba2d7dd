// Uploads a file with tus-js-client. Takes one JSON object as its argument, prints one JSON object a line: what happened.
//   {endpoint, path, headers, options, stream}: `options` are those of tus-js-client; with `stream` it does not know how
//   much will come, and tells the length at the end.
import { createReadStream } from 'node:fs'
import { PassThrough } from 'node:stream'
import { Upload } from 'tus-js-client'

const { endpoint, path, headers, options = {}, stream = false } = JSON.parse(process.argv[2])
const say = (event) => console.log(JSON.stringify(event))
const failures = []
// Of a stream of a file tus-js-client would find out the size.
const source = stream ? createReadStream(path).pipe(new PassThrough()) : createReadStream(path)

const upload = new Upload(source, {
  endpoint,
  headers,
  retryDelays: Array(200).fill(20),
  ...(stream ? { uploadLengthDeferred: true, chunkSize: 100_000 } : {}),
  ...options,
  onAfterResponse: (request, response) => {
    say({
      event: 'answer',
      method: request.getMethod(),
      url: request.getURL(),
      status: response.getStatus(),
      tus: response.getHeader('Tus-Resumable') ?? null,
      track: response.getHeader('Content-Location') ?? null,
    })
  },
  onShouldRetry: (error) => {
    const status = error.originalResponse ? error.originalResponse.getStatus() : 0
    failures.push(status)
    return status === 0 || status === 409 || status === 423 || status >= 500
  },
  onSuccess: () => say({ event: 'success', url: upload.url, failures }),
  onError: (error) => {
    say({ event: 'error', message: String(error), status: error.originalResponse?.getStatus() ?? 0, failures })
    process.exitCode = 1
  },
})
upload.start()
