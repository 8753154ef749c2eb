// node verify_bundle.cjs BUNDLE KEY [FILE]: whether npm's @sigstore/verify takes a bundle signed with a key.
// NODE_PATH names where the packages lie.  Prints "accepted", or "refused: " and why.
const { readFileSync } = require('fs')
const { createPublicKey } = require('crypto')
const { bundleFromJSON } = require('@sigstore/bundle')
const { Verifier, toSignedEntity } = require('@sigstore/verify')

const [bundlePath, keyPath, filePath] = process.argv.slice(2)
try {
  const bundle = bundleFromJSON(JSON.parse(readFileSync(bundlePath, 'utf8')))
  const publicKey = createPublicKey(readFileSync(keyPath, 'utf8'))
  const material = {
    certificateAuthorities: [], timestampAuthorities: [], tlogs: [], ctlogs: [],
    publicKey: () => ({ publicKey, validFor: () => true })
  }
  const verifier = new Verifier(material, { tlogThreshold: 0, ctlogThreshold: 0, timestampThreshold: 0, tsaThreshold: 0 })
  verifier.verify(toSignedEntity(bundle, filePath && readFileSync(filePath)))
  console.log('accepted')
} catch (error) {
  console.log('refused: ' + error.message)
}
