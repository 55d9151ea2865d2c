// unisession/testing: helpers for the tests of apps and of stores.

export {
  type CallbackStore,
  type StoreUnderTest,
  storeContract,
  type TestRunner,
} from './testing/contract.ts'
