export const handler = async (event, context) => {
  console.log(`request ${context.awsRequestId}`);
  return { message: `${process.env.GREETING}, ${event.name ?? "world"}!` };
};
