// What a page does with Uppy; bundled for the browser by the tests.
import Uppy from '@uppy/core'
import Tus from '@uppy/tus'

// Uploads the file at `source` of the page's own server; resolves to {successful: [uploadURL], failed: [message]}.
window.upload = async ({ endpoint, headers, source, name, options = {} }) => {
  const data = await (await fetch(source)).blob()
  const uppy = new Uppy({ autoProceed: false }).use(Tus, {
    endpoint,
    headers,
    retryDelays: Array(200).fill(20),
    ...options,
  })
  const failed = []
  uppy.on('upload-error', (_, error) => failed.push(String(error)))
  uppy.addFile({ name, type: 'audio/mpeg', data })
  const result = await uppy.upload()
  return { successful: result.successful.map((file) => file.uploadURL), failed }
}
